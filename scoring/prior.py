"""The day-one formula: P(no active day within the horizon), before any training data.

A gamma-Poisson filter: active days arrive at a rate whose prior is Gamma(SHAPE, RATE) and which drifts, so evidence
fades with a half-life. With `a` decayed active days seen over `t` decayed days, the rate is Gamma(SHAPE + a, RATE + t),
and the chance of none in H days is ((RATE + t) / (RATE + t + H)) ** (SHAPE + a): the negative binomial of Fader, Hardie
and Lee (2005, "Counting your customers the easy way", Marketing Science 24:275) without its dropout, with the
exponential forgetting of Smith (1979, "A generalization of the Bayesian steady forecasting model", JRSS B 41:375).
The mean over three half-lives, in log-odds, follows both a sudden stop and a slow habit.
"""

from typing import Final

import numpy as np

from scoring.history import HALF_LIVES
from scoring.rollup import DAY, Floats

SHAPE: Final = 1.0
RATE: Final = 10.0  # days
BASE_RATE: Final = 0.10  # of an account that is not known yet


def no_return(active: Floats, tenure: Floats, silence: Floats, horizon_days: float) -> Floats:
    """Log-odds of no active day in the next `horizon_days`.

    `active`: (customers, 3) decayed active days as of the last engagement; `tenure` and `silence`: (customers,) days
    since the first event and since the last engagement. Rises with silence and with tenure, falls with activity.
    """
    evidence = SHAPE + active * np.exp2(-silence[:, None] / HALF_LIVES)
    exposure = RATE + HALF_LIVES / np.log(2) * -np.expm1(-np.log(2) * tenure[:, None] / HALF_LIVES)
    log_p = -evidence * np.log1p(horizon_days / exposure)
    return np.asarray((log_p - np.log(-np.expm1(log_p))).sum(axis=1) / len(HALF_LIVES))


def days(later: float | Floats, earlier: Floats) -> Floats:
    """Days between two instants, 0 where the earlier is unknown or not earlier."""
    return np.asarray(np.fmax((later - earlier) / DAY, 0.0))
