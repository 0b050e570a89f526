"""The risk of two weeks ago by the present model: lists compare with it, through every change of model."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from scoring.model import Model
from scoring.rollup import DAY, Floats, Rollup
from scoring.score import risks_at
from workers.risk.causes import Change

BACK_DAYS: Final = 14


def find_risks_before(
    rollup: Rollup, now: float, changes: Sequence[Change], horizon_days: float, model: Model
) -> Floats:
    """The probability BACK_DAYS before `now` (the account's clock) of each customer whose score is recorded; NaN for
    others, and for customers who weren't there then."""
    since = now - BACK_DAYS * DAY
    wanted = np.array([change.recorded and change.before.first_seen <= since for change in changes], dtype=bool)
    risks = np.full(len(changes), np.nan)
    chosen = np.flatnonzero(wanted)
    if len(chosen):
        risks[chosen], _ = risks_at(rollup, chosen, np.full(len(chosen), since), horizon_days, model)
    return risks
