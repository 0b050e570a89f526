"""Events and their daily counts as columns: the parameters of the queries that store them."""

from collections.abc import Mapping, Sequence

from workers.buffer import arrays
from workers.buffer.arrays import BinaryArray
from workers.buffer.fields import pack_text
from workers.buffer.fold import DayCount, DayKey, Fold, Span
from workers.buffer.rows import Row

Columns = dict[str, BinaryArray]

_NO_DETAIL = pack_text("")


def make_columns(added: Fold) -> Columns:
    """Returns the parameters of add_events."""
    spans = [added.spans[customer_id] for customer_id in sorted(added.spans)]
    return {**make_day_columns(added.days), **make_span_columns(spans)}


def make_event_columns(rows: Sequence[Row]) -> Columns:
    """Returns rows of events."""
    return {
        **make_key_columns(rows),
        "event": arrays.texts([row.content.event_field for row in rows]),
        "properties": arrays.jsonbs([row.content.properties_field for row in rows]),
        "received_at": arrays.moments(row.received_us for row in rows),
    }


def make_key_columns(rows: Sequence[Row]) -> Columns:
    """Returns their keys."""
    return {
        "customer_id": arrays.uuids([row.customer.id_field for row in rows]),
        "occurred_at": arrays.moments(row.occurred_us for row in rows),
        "event_key": arrays.bigints(row.event_key for row in rows),
    }


def make_day_columns(days: Mapping[DayKey, DayCount]) -> Columns:
    """Returns rows of customer_days, in the order of their key; their customer_id as day_customer_id."""
    keys = sorted(days)
    counts = [days[key] for key in keys]
    customers, contents, n, values, last_us, _, plans = zip(*counts, strict=True) if counts else [()] * 7
    return {
        "day_customer_id": arrays.uuids([customer.id_field for customer in customers]),
        "day": arrays.dates(key[1] for key in keys),
        "event": arrays.texts([content.event_field for content in contents]),
        "detail": arrays.texts([days[key][1].detail_field if key[3] else _NO_DETAIL for key in keys]),
        "n": arrays.integers(n),
        "value": arrays.doubles(values),
        "last_at": arrays.moments(last_us),
        "plan": arrays.texts(plans),
    }


def make_span_columns(spans: Sequence[Span]) -> Columns:
    """Returns customers and when their events were seen."""
    customers, first_us, last_us, since_us = zip(*spans, strict=True) if spans else [()] * 4
    return {
        "customer_id": arrays.uuids([customer.id_field for customer in customers]),
        "account_id": arrays.integers([customer.account_id for customer in customers]),
        "email": arrays.texts([customer.email_field for customer in customers]),
        "first_seen": arrays.moments(first_us),
        "last_seen": arrays.moments(last_us),
        "since": arrays.moments(since_us),
    }
