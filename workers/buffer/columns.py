"""Events, and what they add, as columns: the parameters of the queries that store them."""

from collections.abc import Iterable, Sequence

from workers.buffer import arrays
from workers.buffer.arrays import BinaryArray
from workers.buffer.fields import pack_text
from workers.buffer.fold import Fold
from workers.buffer.rows import Row

Columns = dict[str, BinaryArray]


def make_columns(added: Fold) -> Columns:
    """Returns the parameters of add_events."""
    return {**make_day_columns(added), **make_span_columns(added, range(len(added.customers)))}


def make_event_columns(rows: Sequence[Row]) -> Columns:
    """Returns rows of events."""
    return {
        **make_key_columns(rows),
        "event": arrays.texts([row.content.event_field for row in rows]),
        "properties": arrays.jsonbs([row.content.properties_field for row in rows]),
        "received_at": arrays.moments([row.received_us for row in rows]),
    }


def make_key_columns(rows: Sequence[Row]) -> Columns:
    """Returns their keys."""
    return {
        "customer_id": arrays.uuids([row.customer.id_field for row in rows]),
        "occurred_at": arrays.moments([row.occurred_us for row in rows]),
        "event_key": arrays.bigints([row.event_key for row in rows]),
    }


def make_day_columns(added: Fold) -> Columns:
    """Returns rows of customer_days, in the order of their key; their customer_id as day_customer_id."""
    days, words = added.days, added.days.words.tolist()
    ids = [customer.id_field for customer in added.customers]
    return {
        "day_customer_id": arrays.uuids(_choose(ids, days.customer.tolist())),
        "day": arrays.dates(days.day),
        "event": arrays.texts(_choose([pack_text(event) for event, _ in added.words], words)),
        "detail": arrays.texts(_choose([pack_text(detail) for _, detail in added.words], words)),
        "n": arrays.integers(days.n),
        "value": arrays.doubles(days.value),
        "last_at": arrays.moments(days.last_us),
        "plan": arrays.texts(_choose(added.plans, days.plan.tolist())),
    }


def make_span_columns(added: Fold, places: Sequence[int]) -> Columns:
    """Returns the customers at these places, and when their events were seen."""
    customers, chosen = [added.customers[place] for place in places], list(places)
    return {
        "customer_id": arrays.uuids([customer.id_field for customer in customers]),
        "account_id": arrays.integers([customer.account_id for customer in customers]),
        "email": arrays.texts([customer.email_field for customer in customers]),
        "first_seen": arrays.moments(added.first_us[chosen]),
        "last_seen": arrays.moments(added.last_us[chosen]),
        "since": arrays.moments(added.since_us[chosen]),
    }


def _choose(fields: Sequence[bytes], places: Iterable[int]) -> list[bytes]:
    return [fields[place] for place in places]
