"""What events add to the daily counts and to their customers, added up before Postgres gets it."""

from collections.abc import Iterable
from typing import NamedTuple

from workers.buffer.rows import Content, KnownCustomer, Row

DAY_US = 86_400_000_000

DayKey = tuple[str, int, str, str]  # customer_id, day since 1970, event, detail: a row of customer_days


class DayCount:
    """How often an event came on a customer's day; the sum of its values, and the latest plan it named."""

    __slots__ = ("content", "customer", "last_us", "n", "plan_field", "plan_us", "value")

    def __init__(self, customer: KnownCustomer, content: Content, seen_us: int) -> None:
        self.customer, self.content = customer, content
        self.n, self.value, self.last_us = 1, content.value, seen_us
        self.plan_field = content.plan_field
        self.plan_us = seen_us if content.plan is not None else -1

    def add(self, content: Content, seen_us: int) -> None:
        """Count one more."""
        self.n += 1
        self.value += content.value
        self.last_us = max(self.last_us, seen_us)
        if content.plan is not None and seen_us > self.plan_us:
            self.plan_field, self.plan_us = content.plan_field, seen_us

    def merge(self, other: "DayCount") -> None:
        """Take in another count of the same customer, day and event."""
        self.n += other.n
        self.value += other.value
        self.last_us = max(self.last_us, other.last_us)
        if other.plan_us > self.plan_us:
            self.plan_field, self.plan_us = other.plan_field, other.plan_us


class Span:
    """When a customer's events were seen: from, to; and the earliest time that one of them says."""

    __slots__ = ("customer", "first_us", "last_us", "since_us")

    def __init__(self, customer: KnownCustomer, seen_us: int, occurred_us: int) -> None:
        self.customer = customer
        self.first_us = self.last_us = seen_us
        self.since_us = occurred_us

    def add(self, seen_us: int, occurred_us: int) -> None:
        """Take in one more event."""
        self.first_us = min(self.first_us, seen_us)
        self.last_us = max(self.last_us, seen_us)
        self.since_us = min(self.since_us, occurred_us)


class Fold(NamedTuple):
    """The counts by day, and the spans by customer_id."""

    days: dict[DayKey, DayCount]
    spans: dict[str, Span]
    latest_us: int  # when the last event was seen


def fold(rows: Iterable[Row], now_us: int | None = None) -> Fold:
    """Returns what these rows add. A producer's clock may be ahead of ours: the event keeps its time, and counts as
    seen when it was received; and not after `now_us`."""
    days: dict[DayKey, DayCount] = {}
    spans: dict[str, Span] = {}
    latest_us = 0
    for row in rows:
        customer_id, occurred_us, _, received_us, _, customer, content, _ = row
        seen_us = min(occurred_us, received_us)
        if now_us is not None and seen_us > now_us:
            seen_us = now_us
        if seen_us > latest_us:
            latest_us = seen_us
        key = customer_id, seen_us // DAY_US, content.event, content.detail
        if (count := days.get(key)) is None:
            days[key] = DayCount(customer, content, seen_us)
        else:
            count.add(content, seen_us)
        if (span := spans.get(customer_id)) is None:
            spans[customer_id] = Span(customer, seen_us, occurred_us)
        else:
            span.add(seen_us, occurred_us)
    return Fold(days, spans, latest_us)
