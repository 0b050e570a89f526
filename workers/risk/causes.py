"""The cause of a score, and the decision to record it.

A score is always shown. It is recorded (in risk_history, counted in the levels, compared later) when it is the first
one, a day after the last recorded one, or when level, state, model or horizon changed; and never while the account's
history is arriving. Reactions to a change of risk look at the cause: only `event` and `silence` are the customer's
own doing.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from scoring.advice import Advice
from scoring.levels import NAMES
from scoring.reasons import Reason
from scoring.rollup import DAY
from scoring.score import STATES, Scores

Cause = Literal["first", "event", "silence", "import", "model", "settings", "stale"]
OWN_DOING: tuple[Cause, ...] = ("event", "silence")


class DueCustomer(NamedTuple):
    """A customer whose risk is due, as its row stands before the score; locked until the transaction ends.

    Times are in epoch seconds. `recorded_…` is what risk_history last got, None before that; the rest is of the last
    score, recorded or not.
    """

    customer_id: str
    account_id: int
    now: float
    first_seen: float
    due_because: str | None  # event, import, stale, settings; None is silence
    scored_at: float | None
    recorded_at: float | None
    recorded_level: str | None
    recorded_state: str | None
    model: str | None
    horizon_days: int
    generation: int
    stale_input: bool
    provisional: bool
    turns_end: int | None  # the account after which the next turns begin


class Terms(NamedTuple):
    """The terms of a batch of scores: everything that they carry beside the risk."""

    model: str
    horizon_days: int  # the account's; a slow customer's own is longer
    generation: int
    stale_input: bool
    provisional: bool  # history is arriving


class Change(NamedTuple):
    """A customer's new score, beside how the row stood before."""

    before: DueCustomer
    because: Cause
    recorded: bool
    probability: float
    level: str
    state: str
    reasons: list[Reason]
    advice: Advice
    horizon_days: int  # the customer's own


def changes_of(due: Sequence[DueCustomer], terms: Terms, scores: Scores) -> list[Change]:
    """Returns what the scores of these customers changed, in their order."""
    columns = (
        scores.probability.tolist(),
        [NAMES[code] for code in scores.level.tolist()],
        [STATES[code] for code in scores.state.tolist()],
        scores.reasons,
        scores.advice,
        scores.horizon_days.astype(int).tolist(),
    )
    changes = []
    for before, probability, level, state, reasons, advice, horizon in zip(due, *columns, strict=True):
        recorded = is_recorded(before, terms, level, state, horizon)
        cause = find_cause(before, terms, horizon)
        changes.append(Change(before, cause, recorded, probability, level, state, reasons, advice, horizon))
    return changes


def find_cause(before: DueCustomer, terms: Terms, horizon_days: int) -> Cause:
    """Returns why this score differs from the one before; `horizon_days` is the customer's own."""
    if before.scored_at is None or (before.recorded_at is None and not before.provisional):
        return "first"
    if terms.provisional or before.provisional:
        return "import"
    if (before.model, before.horizon_days) != (terms.model, horizon_days):
        return "model"
    if before.generation != terms.generation:
        return "settings"
    if terms.stale_input or before.stale_input:
        return "stale"
    return _due_cause(before.due_because)


def is_recorded(before: DueCustomer, terms: Terms, level: str, state: str, horizon_days: int) -> bool:
    """Returns True if a score goes into risk_history."""
    if terms.provisional:
        return False
    if before.recorded_at is None or before.recorded_at <= before.now - DAY:
        return True
    changed = (level, state) != (before.recorded_level, before.recorded_state)
    return changed or (before.model, before.horizon_days) != (terms.model, horizon_days)


def _due_cause(due_because: str | None) -> Cause:
    causes: dict[str | None, Cause] = {"event": "event", "import": "import", "stale": "stale", "settings": "settings"}
    return causes.get(due_because, "silence")
