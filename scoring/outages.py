"""Outages of an account's tracking, found by an unusually low volume, so that they don't look like churn.

Volumes are events received an hour. The expected volume of six hours is the median of the same six hours of the week in
the weeks before, without known outages. Where that is too little to tell, or there are too few weeks, nothing is ever
an outage.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.rollup import Floats

HOUR: Final = 3600.0  # seconds
WEEK_HOURS: Final = 168
WEEKS: Final = 6  # that an expectation rests on
LEAST_WEEKS: Final = 2
WINDOW_HOURS: Final = 6
SHARE: Final = 0.10  # of the expected volume, below which tracking is out
LEAST_EXPECTED: Final = 30.0  # events in the window

OutageMask = NDArray[np.bool_]


def is_out(volumes: Floats, in_outage: OutageMask) -> bool:
    """Returns True if tracking is out at the end of these hours. `in_outage` marks the hours of earlier outages."""
    expected = _expected_window(volumes, in_outage)
    return bool(expected >= LEAST_EXPECTED and volumes[-WINDOW_HOURS:].sum() < SHARE * expected)


def is_back(volumes: Floats, in_outage: OutageMask) -> bool:
    """Returns True if an outage (its hours are marked in `in_outage`) is over at the end of these hours: the volume is
    back, or its usual size is no longer known. Hours with little volume, as by night, can't tell."""
    expected = _expected_window(volumes, in_outage)
    enough = expected >= LEAST_EXPECTED and volumes[-WINDOW_HOURS:].sum() >= SHARE * expected
    return bool(np.isnan(expected) or enough)


def hours_out(volumes: Floats, in_outage: OutageMask) -> int:
    """Returns the number of low hours in a row up to the end."""
    return _last(volumes, in_outage, low=True)


def hours_back(volumes: Floats, in_outage: OutageMask) -> int:
    """Returns the number of hours in a row up to the end that are not low."""
    return _last(volumes, in_outage, low=False)


def _last(volumes: Floats, in_outage: OutageMask, low: bool) -> int:
    """The length of the run of low, or not low, hours at the end."""
    weeks = range(1, WEEKS + 1)
    hours = 0
    while hours < min(WEEKS * WEEK_HOURS, len(volumes)):
        at = len(volumes) - 1 - hours
        past = [
            volumes[at - week * WEEK_HOURS] for week in weeks if _valid(volumes, in_outage, at - week * WEEK_HOURS, 1)
        ]
        least = SHARE * float(np.median(past)) if past else 0.0
        if (volumes[at] < least or volumes[at] == 0) != low:
            break
        hours += 1
    return hours


def _expected_window(volumes: Floats, in_outage: OutageMask) -> float:
    """Events expected in the last WINDOW_HOURS; NaN where too few weeks are known."""
    ends = [len(volumes) - 1 - week * WEEK_HOURS for week in range(1, WEEKS + 1)]
    past = [
        volumes[at - WINDOW_HOURS + 1 : at + 1].sum() for at in ends if _valid(volumes, in_outage, at, WINDOW_HOURS)
    ]
    return float(np.median(past)) if len(past) >= LEAST_WEEKS else float("nan")


def _valid(volumes: Floats, in_outage: OutageMask, at: int, hours: int) -> bool:
    """Returns True if the hours up to `at` show the usual volume: after the first volume ever, in no outage."""
    first = at - hours + 1
    return first >= 0 and bool(volumes[: first + 1].any()) and not in_outage[first : at + 1].any()
