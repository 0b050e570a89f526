"""The outbox: alerts are rows, written in the transaction that writes the scores they follow from.

workers/risk decides which scores may alert, since it knows why each was written. This module decides which webhooks an
alert concerns, and leaves out alerts that were given already. An alert's id follows from the customer and the risk
before, so a second look at the same rise makes the same alert.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from scoring.advice import Advice
from scoring.levels import NAMES, LevelBounds
from scoring.reasons import Reason
from workers.alerts.holdout import is_held_out
from workers.alerts.words import add_words
from workers.store import Connection, sql

log = logging.getLogger(__name__)

DEMO = "@demo.example"  # the simulated customers of `windback demo`; no alert is sent for them


ROUNDED = 1e-6  # of a probability that was stored as a real


class Rise(NamedTuple):
    """A customer whose level rose. `before_at` is when the risk before was recorded (epoch seconds)."""

    customer_id: str
    level_before: str
    before_at: float
    level: str
    probability: float
    reasons: list[Reason]
    advice: Advice

    @property
    def alert_id(self) -> str:
        """The id of a rise: the same however often the rise is written."""
        seed = f"{UUID(self.customer_id).hex} {self.before_at:.6f} {self.level}"
        return str(UUID(bytes=hashlib.blake2b(seed.encode(), digest_size=16, person=b"windback alert").digest()))

    def crosses(self, rank: int) -> bool:
        """True if the level rose from below this one to it or above."""
        return NAMES.index(self.level_before) < rank <= NAMES.index(self.level)


class Wanted(NamedTuple):
    """An alert, and the webhook that it goes to."""

    rise: Rise
    webhook_id: str


def write(
    connection: Connection, account_id: int, rises: Sequence[Rise], at: float, horizon_days: int, levels: LevelBounds
) -> int:
    """Write the alerts that these rises ask for, in the caller's transaction. Returns how many deliveries wait."""
    if not rises:
        return 0
    wishes: dict[str, str] = dict(connection.execute(sql("list_min_levels"), {"account_id": account_id}).fetchall())
    ranks = {webhook_id: NAMES.index(level) for webhook_id, level in wishes.items()}
    moment = datetime.fromtimestamp(at, UTC)
    crossing = [rise for rise in rises if any(map(rise.crosses, ranks.values()))]
    wanted = list(_choose_deliveries(connection, _true_rises(connection, crossing, moment, levels), ranks, moment))
    return _write(connection, account_id, wanted, moment, horizon_days) if wanted else 0


def _true_rises(connection: Connection, rises: Sequence[Rise], at: datetime, levels: LevelBounds) -> list[Rise]:
    """The rises that are the customer's doing: without those from new levels, and without the simulated company."""
    if not rises:
        return []
    parameters = {"customer_ids": [rise.customer_id for rise in rises], "at": at}
    rows = connection.execute(sql("find_before"), parameters).fetchall()
    before = {customer_id: (email, probability) for customer_id, email, probability in rows}
    risen = []
    for rise in rises:
        email, probability = before.get(_with_dashes(rise.customer_id), ("", None))
        by_levels_now = levels.name(probability - ROUNDED) if probability is not None else rise.level_before
        highest = max(rise.level_before, by_levels_now, key=NAMES.index)
        if email and not email.endswith(DEMO):
            risen.append(rise._replace(level_before=highest))
    return risen


def note_alerting(connection: Connection) -> None:
    """Note that this database is in use: a duty of the clock, and of every scorer as it begins."""
    connection.execute(sql("note_alerting"))


def alerting_since(connection: Connection) -> float:
    """Returns the time (epoch seconds) from which scores may alert: only a customer who was scored since can rise."""
    row = connection.execute(sql("alerting_since")).fetchone()
    return float(row[0]) if row else float("inf")


def _choose_deliveries(
    connection: Connection, rises: Sequence[Rise], ranks: dict[str, int], at: datetime
) -> Iterator[Wanted]:
    if not rises:
        return
    parameters = {
        "customer_ids": [rise.customer_id for rise in rises],
        "ranks": sorted(set(ranks.values())),
        "names": list(NAMES),
        "at": at,
    }
    disarmed = set(connection.execute(sql("find_disarmed"), parameters).fetchall())
    for rise in rises:
        for webhook_id, rank in ranks.items():
            if rise.crosses(rank) and (_with_dashes(rise.customer_id), rank) not in disarmed:
                yield Wanted(rise, webhook_id)


def _write(connection: Connection, account_id: int, wanted: Sequence[Wanted], at: datetime, horizon_days: int) -> int:
    risen = list({delivery.rise.customer_id: delivery.rise for delivery in wanted}.values())
    row = connection.execute(sql("account_holdout"), {"account_id": account_id}).fetchone()
    percent = float(row[0]) if row else 0.0
    held_out = {rise.customer_id for rise in risen if is_held_out(rise.customer_id, percent)}
    advice = add_words(connection, account_id, {_with_dashes(rise.customer_id): rise.advice for rise in risen})
    columns = {
        "customer_id": [rise.customer_id for rise in risen],
        "alert_id": [rise.alert_id for rise in risen],
        "level_before": [rise.level_before for rise in risen],
        "level": [rise.level for rise in risen],
        "probability": [rise.probability for rise in risen],
        "reasons": [msgspec.json.encode(rise.reasons).decode() for rise in risen],
        "advice": [msgspec.json.encode(advice[_with_dashes(rise.customer_id)]).decode() for rise in risen],
        "held_out": [rise.customer_id in held_out for rise in risen],
    }
    connection.execute(
        sql("write_alerts"), {**columns, "account_id": account_id, "at": at, "horizon_days": horizon_days}
    )
    going = [delivery for delivery in wanted if delivery.rise.customer_id not in held_out]
    connection.execute(
        sql("write_deliveries"),
        {
            "customer_id": [delivery.rise.customer_id for delivery in going],
            "alert_id": [delivery.rise.alert_id for delivery in going],
            "webhook_id": [delivery.webhook_id for delivery in going],
            "at": at,
        },
    )
    log.info("alerted", extra={"account_id": account_id, "alerts": len(risen), "held_out": len(held_out)})
    return len(going)


def _with_dashes(customer_id: str) -> str:
    """An id as Postgres writes it."""
    return str(UUID(customer_id))
