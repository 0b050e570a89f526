"""Daily counts and customers' changes of a batch of events, added up before Postgres gets them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.buffer.rows import KnownCustomer
from workers.buffer.table import Ints, Table, mark_first

DAY_US = 86_400_000_000

Words = tuple[str, str]  # an event, and its detail


class DayCounts(NamedTuple):
    """Rows of customer_days as columns. Customers, words and plans are places in the lists of a Fold."""

    customer: Ints
    day: Ints  # since 1970
    words: Ints
    n: Ints
    value: NDArray[np.float64]
    last_us: Ints
    plan_us: Ints  # when a plan was named last; -1: never
    plan: Ints


class Fold(NamedTuple):
    """The counts by day, in the order of their keys, and when the customers' events were seen: the first and the last
    one; `since_us` is the earliest time that an event says."""

    customers: Sequence[KnownCustomer]  # in the order of their ids
    words: Sequence[Words]  # in their order
    plans: Sequence[bytes]  # fields
    days: DayCounts
    first_us: Ints
    last_us: Ints
    since_us: Ints

    @property
    def latest_us(self) -> int:
        """When the last event of all was seen."""
        return int(self.last_us.max(initial=0))


def fold(table: Table, now_us: int | None = None) -> Fold:
    """Returns what the rows of a table add; each of its customers has one. A producer's clock may be ahead of ours: the
    event keeps its time, and counts as seen when it was received; and not after `now_us`."""
    seen_us = np.minimum(table.occurred_us, table.received_us)
    if now_us is not None:
        seen_us = np.minimum(seen_us, now_us)
    words = sorted({(content.event, content.detail) for content in table.contents})
    place_of = {pair: place for place, pair in enumerate(words)}
    words_of = np.array([place_of[content.event, content.detail] for content in table.contents], np.int64)
    values = np.array([content.value for content in table.contents], np.float64)
    has_plan = np.array([content.plan is not None for content in table.contents], np.bool_)
    days = DayCounts(
        table.customer,
        seen_us // DAY_US,
        words_of[table.content],
        np.ones(len(seen_us), np.int64),
        values[table.content],
        seen_us,
        np.where(has_plan[table.content], seen_us, -1),
        table.content,
    )
    order = np.argsort(table.customer, kind="stable")
    starts = np.flatnonzero(mark_first(table.customer[order]))
    return Fold(
        table.customers,
        words,
        [content.plan_field for content in table.contents],
        add_up(days),
        np.minimum.reduceat(seen_us[order], starts),
        np.maximum.reduceat(seen_us[order], starts),
        np.minimum.reduceat(table.occurred_us[order], starts),
    )


def add_up(days: DayCounts) -> DayCounts:
    """Returns one row for each key, in the order of keys. The plan is the one that was named last."""
    order = np.lexsort((-days.plan_us, days.words, days.day, days.customer))
    starts = np.flatnonzero(mark_first(days.customer[order], days.day[order], days.words[order]))
    first = order[starts]
    return DayCounts(
        days.customer[first],
        days.day[first],
        days.words[first],
        np.add.reduceat(days.n[order], starts),
        np.add.reduceat(days.value[order], starts),
        np.maximum.reduceat(days.last_us[order], starts),
        days.plan_us[first],
        days.plan[first],
    )
