"""Every part of one customer's risk, where reasons name only the largest."""

from typing import NamedTuple

import numpy as np

from scoring.facts import facts_of
from scoring.features import View, own_horizons
from scoring.history import history_of
from scoring.model import Model, points, sigmoid
from scoring.reasons import Reason, text_of
from scoring.risk import weigh
from scoring.rollup import Rollup
from scoring.states import STATES, state_of


class Explanation(NamedTuple):
    """A risk, the baseline (the risk of a customer of whom nothing is known; both 0 to 1), and the points between."""

    probability: float
    baseline: float
    parts: list[Reason]  # the largest increase first; they add up to probability - baseline


def explain(rollup: Rollup, now: float, *, horizon_days: float, model: Model) -> Explanation:
    """The risk of the rollup's only customer as of `now` (epoch seconds), as `score` computes it."""
    past = rollup.until(now)
    history = history_of(past, now, model.features)
    horizons = own_horizons(history, horizon_days)
    risk = weigh(model, View(history, now, horizons))
    states = [STATES[code] for code in state_of(history, now, risk.probability, horizon_days).tolist()]
    (facts,) = facts_of(history, past, states, now, horizons)
    (shares,) = points(risk.baseline, risk.contributions).tolist()
    parts = [
        Reason(signal, share, text_of(signal, facts, share)) for signal, share in zip(risk.signals, shares, strict=True)
    ]
    parts = [part for part in parts if part.signal in model.signals or part.points]
    baseline, total = sigmoid(np.array([risk.baseline, float(risk.logit[0])])).tolist()
    return Explanation(total, baseline, sorted(parts, key=lambda part: -part.points))
