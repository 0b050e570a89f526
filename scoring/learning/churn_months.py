"""Churn by month: how many customers there were, came, came back and lapsed; the columns add up from month to month."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from scoring.group_by import by_owner
from scoring.learning.departures import Absences
from scoring.learning.outcomes import use_of
from scoring.rollup import Rollup

MONTHS: Final = 12


class ChurnMonth(NamedTuple):
    """A month (UTC), by its start: customers at its start who had not lapsed, and what happened within it.

    `joined` used the product for the first time, `came_back` had lapsed before, `lapsed` did so in this month.
    """

    start: datetime
    customers: int
    joined: int
    came_back: int
    lapsed: int


def count_months(rollup: Rollup, absences: Absences, now: float) -> list[ChurnMonth]:
    """The last MONTHS whole months before `now` (epoch seconds) since the first use, the oldest first."""
    rows = rollup.where(rollup.of(use_of(rollup)), "last_at")
    first = by_owner(np.minimum, rows.customer, rows.last_at, rollup.customers)
    first = first[np.isfinite(first)]
    edges = _list_starts(now)
    months = []
    for start, end in pairwise(edges):
        since, until = start.timestamp(), end.timestamp()
        if not len(first) or first.min() >= until:
            continue
        away = (absences.left_at < since) & (absences.ended >= since)
        months.append(
            ChurnMonth(
                start,
                customers=int((first < since).sum()) - int(away.sum()),
                joined=int(((first >= since) & (first < until)).sum()),
                came_back=int(((absences.ended >= since) & (absences.ended < until)).sum()),
                lapsed=int(((absences.left_at >= since) & (absences.left_at < until)).sum()),
            )
        )
    return months


def _list_starts(now: float) -> list[datetime]:
    """The first instants of the last MONTHS months before the one of `now`, and of that one."""
    this = datetime.fromtimestamp(now, UTC)
    total = this.year * 12 + this.month - 1
    return [datetime(k // 12, k % 12 + 1, 1, tzinfo=UTC) for k in range(total - MONTHS, total + 1)]
