"""Every part of one customer's risk, where reasons name only the largest."""

from typing import NamedTuple

import numpy as np

from scoring.facts import facts_of
from scoring.history import history_of
from scoring.model import Model, points, sigmoid
from scoring.reasons import Reason, text_of
from scoring.rollup import Rollup
from scoring.states import STATES, state_of


class Explanation(NamedTuple):
    """A risk, the risk of who nothing is known of (both 0 to 1), and the percentage points from this to that."""

    probability: float
    baseline: float
    parts: list[Reason]  # what raises the risk most first; they add up to probability - baseline


def explain(rollup: Rollup, now: float, *, horizon_days: float, model: Model) -> Explanation:
    """The risk of the rollup's only customer as of `now` (epoch seconds), as `score` computes it."""
    known = rollup.until(now)
    history = history_of(known, now, model.features)
    contributions = model.contributions(history, now, horizon_days)
    states = [STATES[code] for code in state_of(history, now).tolist()]
    (facts,) = facts_of(history, known, states, now)
    (shares,) = points(model.baseline, contributions).tolist()
    parts = [Reason(signal, share, text_of(signal, facts)) for signal, share in zip(model.signals, shares, strict=True)]
    baseline, total = sigmoid(np.array([model.baseline, model.baseline + contributions.sum()])).tolist()
    return Explanation(total, baseline, sorted(parts, key=lambda part: -part.points))
