"""The risk of two weeks ago, by the model of now: what a list compares with, whatever became of models meanwhile."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from scoring.model import Model
from scoring.rollup import DAY, Rollup
from scoring.score import risks_at
from workers.risk.causes import Change

BACK_DAYS: Final = 14


def find_risks_before(
    rollup: Rollup, now: float, changes: Sequence[Change], horizon_days: float, model: Model
) -> list[float | None]:
    """The probability BACK_DAYS before `now` (the account's clock) of each customer whose score is recorded; None for
    others, and for customers who weren't there then."""
    since = now - BACK_DAYS * DAY
    chosen = [number for number, change in enumerate(changes) if change.recorded and change.before.first_seen <= since]
    risks: list[float | None] = [None] * len(changes)
    if chosen:
        instants = np.full(len(chosen), since)
        probability, _ = risks_at(rollup, np.array(chosen, np.intp), instants, horizon_days, model)
        for number, risk in zip(chosen, probability.tolist(), strict=True):
            risks[number] = risk
    return risks
