"""Silence on a clock that stands still while tracking is out.

A customer who has not been seen since an outage began is scored as of a moment that lies earlier by its length: while
it lasts, that is the moment when it began. For one who has been seen since, what they did before the outage is moved
later by its whole days, so that days on which nobody could be seen wear nothing away. Only engagement moves: invoices,
tickets and answers keep their dates.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scoring.events import ENGAGEMENT
from scoring.group_by import by_owner
from scoring.rollup import DAY, Floats, Rollup


class Pause(NamedTuple):
    """An outage of tracking, in epoch seconds. One that lasts on ends now."""

    began: float
    ended: float


def bridge(rollup: Rollup, pauses: Sequence[Pause], now: float | Floats) -> tuple[Rollup, Floats]:
    """The rollup with its engagement moved over the pauses, and the instant as of which each customer is scored.

    `now` is one instant for all, or one each; the rollup holds nothing later. A pause that lies ahead is none yet.
    """
    instants = np.array(np.broadcast_to(now, rollup.customers), np.float64)
    if not pauses:
        return rollup, instants
    last = by_owner(np.maximum, rollup.customer, rollup.last_at, rollup.customers)
    engaged = rollup.of(ENGAGEMENT)
    later = np.zeros(len(rollup.day), np.int32)
    for pause in pauses:
        length = np.broadcast_to(np.maximum(np.minimum(pause.ended, now) - pause.began, 0.0), rollup.customers)
        seen = last > pause.began
        instants -= np.where(seen, 0.0, length)
        moved = engaged & seen[rollup.customer] & (rollup.last_at < pause.began)
        later[moved] += (length[rollup.customer[moved]] // DAY).astype(np.int32)
    return replace(rollup, day=rollup.day + later, last_at=rollup.last_at + later * DAY), instants
