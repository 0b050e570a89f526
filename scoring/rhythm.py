"""The regularity of customers' visits, by the gaps between their active days.

Visits by chance leave gaps that are exponential. Many customers are more regular: bills come by the month, reports by
the quarter. Their gaps are taken as Weibull, whose shape tells chance (1) from a clock (4, the most that is counted):
the standard deviation of the log of a gap is π / √6 over the shape. Few gaps prove little, so its logarithm is shrunk
to that of chance, worth PROOF gaps. Bills are a better clock: theirs is shrunk to that of BILLED, since before the next
one is due nothing can tell whether it will be paid. Platzer and Reutterer (2016), "Ticking away the moments: timing
regularity helps to better predict customer activity", Marketing Science 35:779, show how much this is worth.

Others come for some days and then stay away for long, again and again: gaps of at least BREAK_DAYS and BREAK_GAPS usual
ones are breaks, and from the second on the next one is expected to last as long.

Counted in its own days, which are long after a visit and short when the next one is due, a regular process is one by
chance with the same mean gap: `warp` turns days into these. So the day-one formula needs no other terms for it.
"""

from math import gamma, pi, sqrt
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.group_by import Index
from scoring.rollup import Floats

HALF_LIVES: Final = np.array([7.0, 30.0, 90.0])  # days, of activity
CHANCE: Final = pi / sqrt(6)  # standard deviation of log gaps that come by chance
JITTER: Final = 0.15  # … of log gaps that no clock undercuts: months have 28 to 31 days
PROOF: Final = 2.0  # gaps
MOST: Final = 4.0
STEPS: Final = 20  # that a shape is counted in
CLOSE: Final = 3.0  # mean gaps
BREAK_DAYS: Final = 10.0
BREAK_GAPS: Final = 3.0  # usual gaps
BREAKS: Final = 2  # from which on they are a habit
BILL_DAYS: Final = 31.0  # from bill to bill, until a second one has come
BILLED: Final = 6.0  # the shape of bills, and the most that is counted of them
DOUBT: Final = 20.0  # gaps without a break, to which those of a customer are added
_SHAPES: Final = 1.0 + np.arange((BILLED - 1.0) * STEPS + 1) / STEPS
_UNITS: Final = np.array([gamma(1.0 + 1.0 / shape) ** shape for shape in _SHAPES])


class Rhythm(NamedTuple):
    """The gaps between active days; arrays of length customers."""

    gap: Floats  # their mean in days; NaN below two of them, but for those who only pay
    shape: Floats  # 1, as by chance, to MOST, as by a clock
    breaks: Floats  # the chance that a break begins after an active day; 0 where they are no habit
    pause: Floats  # the mean length of breaks in days, BREAK_DAYS at least
    weights: Floats  # (customers, half-lives) of activity

    def take(self, rows: NDArray[Any]) -> Self:
        """The same of some of the customers."""
        return type(self)(*(part[rows] for part in self))

    def convert(self, days: Floats, horizon_days: Floats, after: Floats | None = None) -> Floats:
        """The days by chance in which as many visits are due as in these days, after a silence of others: (customers,).

        Where the horizon covers CLOSE gaps or more, rates alone are enough, and the days are returned as they are.
        """
        close = np.flatnonzero(horizon_days < CLOSE * self.gap)
        own, gap, shape = days.copy(), self.gap[close], self.shape[close]
        if after is None:
            own[close] = warp(days[close], gap, shape)
        else:
            own[close] = warp(after[close] + days[close], gap, shape) - warp(after[close], gap, shape)
        return own

    def on_break(self, silence: Floats) -> Floats:
        """The chance of a break of the customer's own kind that lasts for at least so many days: (customers,)."""
        return np.asarray(self.breaks * np.exp(-np.maximum(silence / self.pause - 1.0, 0.0)))


def measure_rhythm(who: Index, gaps: Index, cadence: Floats, billed: NDArray[np.bool_]) -> Rhythm:
    """The rhythm of each customer; `gaps` between active days, those of customer `who` in order, and their median.

    The days of those who only pay (`billed`) are those of bills, which come by a clock from the first on.
    """
    size = len(cadence)
    count = np.bincount(who, minlength=size)
    divisor, logs = np.maximum(count, 1), np.log(gaps)
    mean = np.bincount(who, logs, size) / divisor
    spread = np.maximum(np.bincount(who, logs * logs, size) - divisor * mean * mean, 0.0)
    proof = np.maximum(count - 1, 0)
    variance = spread / np.maximum(proof, 1) + JITTER**2
    expected = np.where(billed, np.log(BILLED), 0.0)
    steadier = (PROOF * expected + proof * (np.log(CHANCE) - 0.5 * np.log(variance))) / (PROOF + proof)
    long = np.flatnonzero(gaps >= BREAK_DAYS)
    long = long[gaps[long] >= BREAK_GAPS * cadence[who[long]]]
    breaks = np.bincount(who[long], minlength=size)
    pause = np.bincount(who[long], gaps[long], size) / np.maximum(breaks, 1)
    gap = np.where(count >= 2, np.bincount(who, gaps, size) / divisor, np.nan)
    gap[billed & (count < 2)] = np.where(np.isnan(cadence), BILL_DAYS, cadence)[billed & (count < 2)]
    most = np.where(billed, BILLED, MOST) - 1.0
    return Rhythm(
        gap=gap,
        shape=1.0 + np.round(STEPS * np.clip(np.exp(steadier) - 1.0, 0.0, most)) / STEPS,
        breaks=np.where(breaks >= BREAKS, breaks / (DOUBT + count), 0.0),
        pause=np.maximum(pause, BREAK_DAYS),
        weights=weigh_half_lives(gap),
    )


def warp(days: Floats, gap: Floats, shape: Floats) -> Floats:
    """The days of a process by chance in which as many visits are due as in so many days after a visit."""
    unit = _UNITS[((shape - 1.0) * STEPS + 0.5).astype(np.intp)]
    return np.asarray(gap * unit * (days / gap) ** shape)


def weigh_half_lives(gap: Floats) -> Floats:
    """(customers, half-lives), adding up to 1: a short one sees the last visit alone of a customer who comes seldom."""
    worth = HALF_LIVES / (HALF_LIVES + np.nan_to_num(gap)[:, None])
    return np.asarray(worth / worth.sum(axis=1, keepdims=True))
