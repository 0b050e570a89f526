"""Model → risk: contributions whose sum is exact, held below certainty, and lifted to the floor of open matters.

A risk never reaches 100%: log-odds above BEND are bent towards those of MOST, so that order and monotony stay. What
that takes away is shared by all contributions in proportion; the points of a floor belong to its matters.
"""

from typing import Final, NamedTuple

import numpy as np

from scoring.features import View
from scoring.matters import MATTERS, floors
from scoring.model import Model, logit, sigmoid
from scoring.rollup import Floats

MOST: Final = logit(0.99)
BEND: Final = logit(0.95)


class Risks(NamedTuple):
    """Every customer's risk and its contributions, in log-odds."""

    baseline: float
    signals: tuple[str, ...]  # the columns of contributions
    contributions: Floats  # (customers, signals); with the baseline, a row adds up to the logit
    logit: Floats  # (customers,)
    floor: Floats  # (customers,): the logit is never below
    total: Floats  # (customers,): the logit before it is held and lifted

    @property
    def probability(self) -> Floats:
        """0 to 1."""
        return sigmoid(self.logit)


def weigh(model: Model, view: View) -> Risks:
    """The risk of each customer of a view."""
    parts = model.contributions(view)
    total = model.baseline + parts.sum(axis=1)
    held = hold(total)
    baseline = float(hold(np.array(model.baseline)))
    moved = total != model.baseline
    bent = moved & ((held != total) | (baseline != model.baseline))
    parts[bent] *= ((held - baseline) / np.where(moved, total - model.baseline, 1.0))[bent, None]
    signals = tuple(dict.fromkeys((*model.signals, *MATTERS)))
    contributions = np.zeros((len(total), len(signals)))
    contributions[:, : parts.shape[1]] = parts
    shares = floors(view.history)
    lowest = _floor(shares)
    lifted = np.maximum(lowest - held, 0.0)
    weight = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    contributions[:, [signals.index(matter) for matter in MATTERS]] += lifted[:, None] * weight
    return Risks(baseline, signals, contributions, np.maximum(held, lowest), lowest, total)


def hold(total: Floats) -> Floats:
    """Log-odds, those above BEND bent below MOST; rising."""
    room = MOST - BEND
    return np.where(total > BEND, MOST - room * np.exp(-np.maximum(total - BEND, 0.0) / room), total)


def _floor(shares: Floats) -> Floats:
    """The log-odds of 1 - exp(-sum of shares), minus infinity where there are none."""
    total = shares.sum(axis=1)
    is_positive = total > 0
    return np.where(is_positive, np.log(np.expm1(np.where(is_positive, total, 1.0))), -np.inf)
