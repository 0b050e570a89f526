"""Scores as columns of the tables that keep them: one list or array a column, packed for a query in one go.

Times are epoch seconds; unknown values are None or NaN, of which the queries make a null.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from scoring.score import Scores
from scoring.states import LAPSED, STATES
from workers.risk.causes import Change, DueCustomer
from workers.store import vectors
from workers.store.vectors import Vector

Columns = dict[str, Any]


def columns_of(changes: Sequence[Change], scores: Scores, shift: float) -> Columns:
    """Returns the columns of these scores; their clock is `shift` seconds behind."""
    encode = msgspec.json.Encoder().encode
    return {
        "customer_id": [change.before.customer_id for change in changes],
        "because": [change.because for change in changes],
        "recorded": [change.recorded for change in changes],
        "rescore_at": scores.next_due + shift,
        "probability": scores.probability,
        "level": [change.level for change in changes],
        "state": [change.state for change in changes],
        "low_confidence": scores.low_confidence,
        "plan": scores.plan,
        "open_tickets": scores.open_tickets,
        "overdue_since": scores.overdue_since,
        "nps": scores.nps,
        "reasons": [encode(reasons) for reasons in scores.reasons],
        "advice": [encode(advice) for advice in scores.advice],
        "horizon_days": [change.horizon_days for change in changes],
        "stood_at": [level_before(change.before) for change in changes],
    }


def level_before(customer: DueCustomer) -> str | None:
    """Returns the level at which the customer stands by what was recorded last; None before the first."""
    return STATES[LAPSED] if customer.recorded_state == STATES[LAPSED] else customer.recorded_level


def without_lists(customers: int) -> Columns:
    """Returns the columns that lists show, of scores that leave them as they are."""
    return dict.fromkeys(("last_active", "last_seen", "paid", "lapsed_at", "risk_before"), np.full(customers, np.nan))


def pack(columns: Mapping[str, Any]) -> dict[str, Vector]:
    """Returns the columns as parameters."""
    return {name: _PACKERS[name](values) for name, values in columns.items()}


def moment(epoch: float) -> datetime:
    """Returns the datetime of epoch seconds."""
    return datetime.fromtimestamp(epoch, UTC)


_PACKERS: Final[dict[str, Callable[[Any], Vector]]] = {
    "customer_id": vectors.uuids,
    "because": vectors.words,
    "recorded": vectors.booleans,
    "rescore_at": vectors.doubles,
    "probability": vectors.reals,
    "level": vectors.words,
    "state": vectors.words,
    "low_confidence": vectors.booleans,
    "plan": vectors.words,
    "open_tickets": vectors.integers,
    "overdue_since": vectors.doubles,
    "nps": vectors.reals,
    "reasons": vectors.texts,
    "advice": vectors.texts,
    "horizon_days": vectors.integers,
    "stood_at": vectors.words,
    "last_active": vectors.doubles,
    "last_seen": vectors.doubles,
    "paid": vectors.doubles,
    "lapsed_at": vectors.doubles,
    "risk_before": vectors.reals,
}
