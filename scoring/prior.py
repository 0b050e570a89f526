"""The day-one formula: P(no active day within the horizon), before any training data.

Two ways lead to silence, and the formula adds their chances.

*Still here, but slow.* Active days arrive at a rate whose prior is Gamma(SHAPE, RATE) and which drifts, so evidence
fades with a half-life. With `a` decayed active days in `t` decayed days the rate is Gamma(SHAPE + a, RATE + t), and the
chance of none in H days is ((RATE + t) / (RATE + t + H)) ** (SHAPE + a): Fader, Hardie and Lee (2005, "Counting your
customers the easy way", Marketing Science 24:275), with the exponential forgetting of Smith (1979, "A generalization of
the Bayesian steady forecasting model", JRSS B 41:375).

*Gone for good*, at LEAVING a day. The longer the silence against the own rate, the likelier: the odds are those of
Schmittlein, Morrison and Colombo (1987, "Counting your customers: who are they and what will they do next?",
Management Science 33:1), with the rate as of the last active day. Visits come in bursts and people take holidays, so
silence counts for less than a Poisson process would have it: its log-likelihood is multiplied by TRUST.

The mean over three half-lives, in log-odds, follows both a sudden stop and a slow habit. Without the second way a daily
visitor who has been away for a month would pass for loyal; without the first, for gone after every weekend.
"""

from typing import Final

import numpy as np

from scoring.history import HALF_LIVES
from scoring.rollup import DAY, Floats

SHAPE: Final = 1.0
RATE: Final = 10.0  # days
BASE_RATE: Final = 0.10  # of an account that is not known yet, a month
LEAVING: Final = float(-np.log1p(-BASE_RATE) / 30)  # a day
TRUST: Final = 0.7
_CERTAIN: Final = 1.0 - 1e-6


def no_return(active: Floats, tenure: Floats, silence: Floats, horizon_days: float) -> Floats:
    """Log-odds of no active day in the next `horizon_days`.

    `active`: (customers, 3) decayed active days as of the last engagement; `tenure` and `silence`: (customers,) days
    from the first event to the last engagement, and from there on. Rises with silence, falls with activity.
    """
    here = -np.log1p(_gone(active, tenure, silence)) + np.log1p(-_idle(active, tenure, silence, horizon_days))
    return np.asarray((np.log(-np.expm1(here)) - here).sum(axis=1) / len(HALF_LIVES))


def days(later: float | Floats, earlier: Floats) -> Floats:
    """Days between two instants, 0 where the earlier is unknown or not earlier."""
    return np.asarray(np.fmax((later - earlier) / DAY, 0.0))


def rates(active: Floats, tenure: Floats) -> Floats:
    """Expected active days a day, by half-life, at the last engagement: (customers, 3)."""
    return np.asarray((SHAPE + active) / _exposure(tenure))


def _exposure(tenure: Floats) -> Floats:
    """RATE and the decayed days that a tenure is worth, by half-life."""
    return np.asarray(RATE - HALF_LIVES / np.log(2) * np.expm1(-np.log(2) * tenure[:, None] / HALF_LIVES))


def _gone(active: Floats, tenure: Floats, silence: Floats) -> Floats:
    """The odds of having left since the last active day."""
    exposure = _exposure(tenure)
    seen = TRUST * (SHAPE + active)
    waited = np.log1p(silence[:, None] / exposure)
    spare = np.maximum(seen - 1.0, 1e-3)
    left = LEAVING * exposure / spare * -np.expm1(-spare * waited)
    return np.asarray(left * np.exp(np.minimum(seen * waited + LEAVING * silence[:, None], 600.0)))


def _idle(active: Floats, tenure: Floats, silence: Floats, horizon_days: float) -> Floats:
    """P(no active day in the horizon) of who has not left yet: none comes, or the leaving comes first."""
    seen = SHAPE + active * np.exp2(-silence[:, None] / HALF_LIVES)
    exposure = _exposure(tenure + silence)
    none = np.exp(-seen * np.log1p(horizon_days / exposure) - LEAVING * horizon_days)
    either = LEAVING + seen / exposure
    left = LEAVING / either * -np.expm1(-either * horizon_days)
    return np.asarray(np.minimum(none + left, _CERTAIN))
