"""The day-one formula: P(no active day within the horizon), before any training data.

Two ways lead to silence, and the formula adds their chances.

*Still here, but slow.* Active days arrive at a rate whose prior is Gamma(SHAPE, RATE) and which drifts, so evidence
fades with a half-life. With `a` decayed active days in `t` decayed days the rate is Gamma(SHAPE + a, RATE + t), and the
chance of none in H days is ((RATE + t) / (RATE + t + H)) ** (SHAPE + a): Fader, Hardie and Lee (2005, "Counting your
customers the easy way", Marketing Science 24:275), with the exponential forgetting of Smith (1979, "A generalization of
the Bayesian steady forecasting model", JRSS B 41:375).

*Gone for good.* Three fifths of the base rate leave as time passes, at LEAVING a day (Schmittlein, Morrison and
Colombo, 1987, "Counting your customers: who are they and what will they do next?", Management Science 33:1). Others
leave right after an active day: customers differ in how much they need the product, and each day on which one comes
back makes it less likely that the next is the last. With a beta prior that chance falls as 1 / n in the number n of
active days, which is the dropout of Fader, Hardie and Lee's BG/NBD model; the odds are QUITTING / n.

The longer the silence against the own rate, the likelier it is that the customer has gone. Visits come in bursts, so
silence counts for less than a Poisson process would have it: its log-likelihood is multiplied by TRUST, and by
REGULAR more in proportion to the active days a day, since daily visitors are nearly regular. But even they go on
holiday: after an active day a break begins with the chance BREAK, and its length has a heavy tail of median scale
BREAK_DAYS. So the risk of a daily visitor rises early, and never reaches certainty. A customer who took breaks again
and again, between projects or quarters, is expected back as they were.

Some customers come by a clock (rhythm.py): each month, each quarter. Their silences and horizons are counted in days of
their own rhythm, in which their visits come by chance again.

The mean over three half-lives, in log-odds, follows both a sudden stop and a slow habit; a half-life that is short for
the own rhythm weighs less. Without the second way a daily
visitor who has been away for a month would pass for loyal; without the first, for gone after every weekend.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.rhythm import HALF_LIVES, Rhythm
from scoring.rollup import DAY, Floats

SHAPE: Final = 1.0
RATE: Final = 10.0  # days
BASE_RATE: Final = 0.10  # of an account that is not known yet, a month
LEAVING: Final = float(-np.log1p(-BASE_RATE) / 30) * 0.6  # a day
QUITTING: Final = 0.07  # odds that the first active day was the last
TRUST: Final = 0.7
REGULAR: Final = 0.4
BREAK: Final = 0.015  # chance, after an active day
BREAK_DAYS: Final = 10.0
LATEST: Final = 2.0  # days that a day of silence counts for at most
_CERTAIN: Final = 1.0 - 1e-6
_FAR: Final = 600.0  # exp(-600) is still above 0


def no_return(
    active: Floats,
    active_days: Floats,
    tenure: Floats,
    silence: Floats,
    horizon_days: float | Floats,
    rhythm: Rhythm,
    slow: NDArray[np.bool_],
    quitting: float = QUITTING,
) -> Floats:
    """Log-odds of no active day in the next `horizon_days` (one for all, or one each).

    `active`: (customers, 3) decayed active days as of the last engagement; `active_days`: (customers,) their number;
    `tenure` and `silence`: (customers,) days from the first event to the last engagement, and from there on; `slow`:
    (customers,) where the next visit may lie beyond the horizon. Rises with silence but for the slow, falls with
    activity.
    """
    horizon = np.broadcast_to(np.asarray(horizon_days, np.float64), silence.shape)
    waited = np.minimum(rhythm.convert(silence, horizon), LATEST * silence)
    ahead = rhythm.convert(horizon, horizon, np.where(slow, silence, 0.0) if slow.any() else None)
    gone = _gone(active, quitting / np.maximum(active_days, 1.0), tenure, silence, waited, rhythm.on_break(silence))
    idle = _idle(active, tenure, silence, horizon, ahead)
    here = -np.log1p(gone) + np.log1p(-idle)
    return np.asarray(((np.log(-np.expm1(here)) - here) * rhythm.weights).sum(axis=1))


def days(later: float | Floats, earlier: Floats) -> Floats:
    """Days between two instants, 0 where the earlier is unknown or not earlier."""
    return np.asarray(np.fmax((later - earlier) / DAY, 0.0))


def rates(active: Floats, tenure: Floats) -> Floats:
    """Expected active days a day, by half-life, at the last engagement: (customers, 3)."""
    return np.asarray((SHAPE + active) / _exposure(tenure))


def _exposure(tenure: Floats) -> Floats:
    """RATE and the decayed days that a tenure is worth, by half-life."""
    return np.asarray(RATE - HALF_LIVES / np.log(2) * np.expm1(-np.log(2) * tenure[:, None] / HALF_LIVES))


def _gone(
    active: Floats, quits: Floats, tenure: Floats, silence: Floats, own_silence: Floats, own_break: Floats
) -> Floats:
    """The odds of having left since the last active day."""
    exposure, waited = _exposure(tenure), silence[:, None]
    regular = np.minimum((SHAPE + active) / exposure, 1.0)
    evidence = (TRUST + REGULAR * regular) * (SHAPE + active)
    stretch = np.log1p(own_silence[:, None] / exposure)
    spare = np.maximum(evidence - 1.0, 1e-3)
    by_time = LEAVING * exposure / spare * -np.expm1(-spare * stretch)
    unseen = np.exp(-np.minimum(evidence * stretch, _FAR))
    break_lasts = BREAK * regular * np.exp(-waited / BREAK_DAYS)
    unseen += (1.0 - unseen) * np.maximum(break_lasts, own_break[:, None])
    return np.asarray((by_time + quits[:, None]) / np.maximum(unseen, 1e-280) * np.exp(LEAVING * waited))


def _idle(active: Floats, tenure: Floats, silence: Floats, horizon: Floats, own_horizon: Floats) -> Floats:
    """P(no active day in the horizon) of a customer who has not left yet: none comes, or the leaving comes first."""
    seen = SHAPE + active * np.exp2(-silence[:, None] / HALF_LIVES)
    exposure, lasts = _exposure(tenure + silence), horizon[:, None]
    none = np.exp(-seen * np.log1p(own_horizon[:, None] / exposure) - LEAVING * lasts)
    either = LEAVING + seen / exposure
    left = LEAVING / either * -np.expm1(-either * lasts)
    return np.asarray(np.minimum(none + left, _CERTAIN))
