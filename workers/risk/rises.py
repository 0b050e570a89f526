"""The rises of a risk that may alert: those that the customer's own doing caused.

A first score, what an import or a new model, horizon or setting brings, stale input and the score after it: none of
these is (see causes). Nor is the first score after this database was restored, or left alone for an hour.
"""

from collections.abc import Iterator, Sequence

from scoring.levels import NAMES, LevelBounds
from workers.alerts import outbox
from workers.alerts.outbox import Rise
from workers.risk.causes import OWN_DOING, Change
from workers.store import Connection


def write_alerts(connection: Connection, changes: Sequence[Change], levels: LevelBounds) -> int:
    """Write the alerts that the scores of an account's customers ask for. Returns how many deliveries wait."""
    risen = [change for change in changes if is_rise(change)]
    if not risen:
        return 0
    before = risen[0].before
    rises = list(_rises(risen, outbox.alerting_since(connection)))
    return outbox.write(connection, before.account_id, rises, before.now, before.horizon_days, levels)


def is_rise(change: Change) -> bool:
    """Returns True where the level rose by the customer's own doing."""
    before = change.before.recorded_level
    own = change.recorded and change.because in OWN_DOING
    return own and before is not None and NAMES.index(change.level) > NAMES.index(before)


def _rises(changes: Sequence[Change], since: float) -> Iterator[Rise]:
    for before, _, _, probability, level, _, reasons, advice, _ in changes:
        if before.recorded_level and before.recorded_at and (before.scored_at or 0.0) >= since:
            yield Rise(
                before.customer_id, before.recorded_level, before.recorded_at, level, probability, reasons, advice
            )
