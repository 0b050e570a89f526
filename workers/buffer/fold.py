"""Adds up the daily counts of events, and the changes to their customers, before Postgres gets them.

This is done for every event, so what it adds up are plain tuples: an object of a class takes three times as long.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from workers.buffer.rows import Content, KnownCustomer, Row

DAY_US = 86_400_000_000

DayKey = tuple[str, int, str, str]  # customer_id, day since 1970, event, detail: a row of customer_days
# The customer; the content of the first event; how many there are, the sum of their values, when the last was seen;
# when a plan was named last (-1: never), and its field.
DayCount = tuple[KnownCustomer, Content, int, float, int, int, bytes]
# The customer; when the first and the last event was seen; the earliest time that an event says.
Span = tuple[KnownCustomer, int, int, int]


class Fold(NamedTuple):
    """The counts by day, the spans by customer_id, and when the last event was seen."""

    days: Mapping[DayKey, DayCount]
    spans: Mapping[str, Span]
    latest_us: int


def fold(rows: Iterable[Row], now_us: int | None = None) -> Fold:
    """Returns what these rows add. A producer's clock may be ahead of ours: the event keeps its time, and counts as
    seen when it was received; and not after `now_us`."""
    days: dict[DayKey, DayCount] = {}
    spans: dict[str, Span] = {}
    for customer_id, occurred_us, _, received_us, _, customer, content, _ in rows:
        seen_us = occurred_us if occurred_us < received_us else received_us
        if now_us is not None and seen_us > now_us:
            seen_us = now_us
        key = customer_id, seen_us // DAY_US, content.event, content.detail
        plan_us = -1 if content.plan is None else seen_us
        count = customer, content, 1, content.value, seen_us, plan_us, content.plan_field
        days[key] = merge_counts(days[key], count) if key in days else count
        span = customer, seen_us, seen_us, occurred_us
        spans[customer_id] = _join_spans(spans[customer_id], span) if customer_id in spans else span
    return Fold(days, spans, max((span[2] for span in spans.values()), default=0))


def merge_counts(one: DayCount, other: DayCount) -> DayCount:
    """Returns the sum of two counts of a customer's day."""
    plan = one if one[5] >= other[5] else other
    return one[0], one[1], one[2] + other[2], one[3] + other[3], max(one[4], other[4]), plan[5], plan[6]


def _join_spans(one: Span, other: Span) -> Span:
    return one[0], min(one[1], other[1]), max(one[2], other[2]), min(one[3], other[3])
