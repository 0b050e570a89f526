"""Explains a risk in full: computed again when a page shows it, as of the moment of the score."""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from scoring.explain import Explanation, explain
from scoring.pauses import bridge
from workers.accounts import models, registry
from workers.risk.compute import reach_of
from workers.risk.days import read_rollup
from workers.store import Connection
from workers.tracking.outages import outages_of, pauses_of

SAME = 0.0005  # of a probability: nothing that a page would show


class Scored(NamedTuple):
    """A customer's score as it is stored."""

    customer_id: str
    account_id: int
    probability: float
    model: str
    first_seen: datetime
    scored_at: datetime


def explain_score(connection: Connection, scored: Scored, horizon_days: int) -> Explanation | None:
    """Returns all parts of a score; None if it can't be computed again because the past has changed since."""
    model = models.find_model(connection, scored.account_id, scored.model)
    if model is None:
        return None
    now = scored.scored_at.timestamp()
    pauses = pauses_of(outages_of(connection, scored.account_id), now)
    reach = reach_of(now, model, pauses)
    meaning = registry.find_rules(connection, scored.account_id, None).meaning
    rollup, instants = bridge(read_rollup(connection, [scored.customer_id], meaning, reach), pauses, now)
    if not len(rollup.day):
        return None
    explanation = explain(rollup, float(np.asarray(instants)[0]), horizon_days=horizon_days, model=model)
    return explanation if abs(explanation.probability - scored.probability) < SAME else None
