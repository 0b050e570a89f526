"""Silence on a clock that stands still while tracking is out.

A customer who has not been seen since an outage began is scored as of a moment that lies earlier by its length: while
it lasts, that is the moment when it began. For one who has been seen since, what they did before the outage is moved
later by its whole days, so that days on which nobody could be seen wear nothing away. Only engagement moves: invoices,
tickets and answers keep their dates.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scoring.events import ENGAGEMENT
from scoring.reduce import by_owner
from scoring.rollup import DAY, Floats, Rollup


class Pause(NamedTuple):
    """An outage of tracking, in epoch seconds. One that lasts on ends now."""

    began: float
    ended: float


def bridged(rollup: Rollup, pauses: list[Pause], now: float) -> tuple[Rollup, Floats]:
    """The rollup with its engagement moved over the pauses, and the instant as of which each customer is scored."""
    if not pauses:
        return rollup, np.full(rollup.customers, now)
    last = by_owner(np.maximum, rollup.customer, rollup.last_at, rollup.customers)
    engaged = np.array([name in ENGAGEMENT for name in rollup.names], dtype=bool)[rollup.event]
    instants = np.full(rollup.customers, now)
    later = np.zeros(len(rollup.day), np.int32)
    for pause in pauses:
        length = min(pause.ended, now) - pause.began
        seen = last > pause.began
        instants[~seen] -= length
        later[engaged & seen[rollup.customer] & (rollup.last_at < pause.began)] += int(length // DAY)
    return replace(rollup, day=rollup.day + later, last_at=rollup.last_at + later * DAY), instants
