"""Events, and what they add, as columns: the parameters of the queries that store them."""

from collections.abc import Mapping, Sequence

from workers.buffer.fields import pack_text
from workers.buffer.fold import DayCount, DayKey, Span
from workers.buffer.rows import Row
from workers.store import arrays
from workers.store.arrays import BinaryArray

_NO_DETAIL = pack_text("")


def make_event_columns(rows: Sequence[Row]) -> dict[str, BinaryArray]:
    """Returns rows of events."""
    return {
        **make_key_columns(rows),
        "event": arrays.texts([row.content.event_field for row in rows]),
        "properties": arrays.jsonbs([row.content.properties_field for row in rows]),
        "received_at": arrays.moments(row.received_us for row in rows),
    }


def make_key_columns(rows: Sequence[Row]) -> dict[str, BinaryArray]:
    """Returns their keys."""
    return {
        "customer_id": arrays.uuids([row.customer.id_field for row in rows]),
        "occurred_at": arrays.moments(row.occurred_us for row in rows),
        "event_key": arrays.bigints(row.event_key for row in rows),
    }


def make_day_columns(days: Mapping[DayKey, DayCount]) -> dict[str, BinaryArray]:
    """Returns rows of customer_days, in the order of their key; their customer_id as day_customer_id."""
    keys = sorted(days)
    counts = [days[key] for key in keys]
    return {
        "day_customer_id": arrays.uuids([count.customer.id_field for count in counts]),
        "day": arrays.dates(key[1] for key in keys),
        "event": arrays.texts([count.content.event_field for count in counts]),
        "detail": arrays.texts([days[key].content.detail_field if key[3] else _NO_DETAIL for key in keys]),
        "n": arrays.integers(count.n for count in counts),
        "value": arrays.doubles(count.value for count in counts),
        "last_at": arrays.moments(count.last_us for count in counts),
        "plan": arrays.texts([count.plan_field for count in counts]),
    }


def make_span_columns(spans: Sequence[Span]) -> dict[str, BinaryArray]:
    """Returns customers and when their events were seen."""
    return {
        "customer_id": arrays.uuids([span.customer.id_field for span in spans]),
        "account_id": arrays.integers(span.customer.account_id for span in spans),
        "email": arrays.texts([pack_text(span.customer.email) for span in spans]),
        "first_seen": arrays.moments(span.first_us for span in spans),
        "last_seen": arrays.moments(span.last_us for span in spans),
        "since": arrays.moments(span.since_us for span in spans),
    }
