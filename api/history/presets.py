"""Exports of other products, as their documentation describes them: each record becomes an event or an identity."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from api.doors.segment_messages import read_message
from api.doors.stripe_events import read_stripe_event
from api.history.conversion import (
    Converted,
    Json,
    as_object,
    make_event,
    name_customer,
    read_amount,
    without_prefix,
)
from api.history.records import Columns
from api.history.times import read_time

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Preset(NamedTuple):
    """The way to read a product's export: the columns of its CSV, and the conversion of a record (or ValueError)."""

    columns: Columns
    convert: Callable[[Json], Converted]


def _from_mixpanel(fields: Json) -> Converted:
    """https://docs.mixpanel.com/reference/raw-event-export: {"event", "properties": {"time", …}}."""
    properties = as_object(fields.get("properties")) or {name: fields[name] for name in fields if name != "event"}
    user_id, email = properties.get("$user_id") or properties.get("distinct_id"), properties.get("$email")
    if fields.get("event") in MIXPANEL_MERGES:
        return Converted(skipped="it only joins ids")
    if str(user_id).startswith(MIXPANEL_DEVICE):
        return Converted(skipped=VISITOR)
    customer = name_customer(email or properties.get("email"), user_id)
    own = without_prefix(properties, "$", "mp_")
    own = {name: value for name, value in own.items() if name not in ("time", "distinct_id", "email")}
    page = urlsplit(str(properties.get("$current_url") or properties.get("current_url") or "")).path
    own |= {"page": page} if page and "page" not in own else {}
    return make_event(
        fields.get("event"), customer, read_time(properties.get("time")), own, properties.get("$insert_id")
    )


def _from_amplitude(fields: Json) -> Converted:
    """https://amplitude.com/docs/apis/analytics/export: {"event_type", "user_id", "event_time", "event_properties"}."""
    traits, own = as_object(fields.get("user_properties")), as_object(fields.get("event_properties"))
    if fields.get("device_id") and not fields.get("user_id") and not traits.get("email"):
        return Converted(skipped=VISITOR)
    customer = name_customer(traits.get("email"), fields.get("user_id"))
    event_id = fields.get("$insert_id") or fields.get("insert_id") or fields.get("uuid")
    name = fields.get("event_type")
    if name in ("$identify", "$groupidentify"):
        return _make_identity(fields.get("user_id"), traits.get("email"), traits, fields.get("event_time"))
    return make_event(name, customer, read_time(fields.get("event_time")), own, event_id)


def _from_posthog(fields: Json) -> Converted:
    """https://posthog.com/docs/cdp/batch-exports: {"uuid", "event", "distinct_id", "timestamp", "properties", …}."""
    properties = _as_json(fields.get("properties"))
    person = _as_json(fields.get("person_properties")) or as_object(_as_json(fields.get("person")).get("properties"))
    email = person.get("email") or as_object(properties.get("$set")).get("email") or properties.get("email")
    if not email and properties.get("$process_person_profile") is False:
        return Converted(skipped=VISITOR)
    customer = name_customer(email, fields.get("distinct_id"))
    if fields.get("event") in ("$identify", "$set", "$create_alias"):
        traits = {**person, **as_object(properties.get("$set"))}
        return _make_identity(fields.get("distinct_id"), email, traits, fields.get("timestamp"))
    own = without_prefix(properties, "$")
    page = properties.get("$pathname") or urlsplit(str(properties.get("$current_url") or "")).path
    own |= {"page": page} if page and "page" not in own else {}
    return make_event(fields.get("event"), customer, read_time(fields.get("timestamp")), own, fields.get("uuid"))


def _from_segment(fields: Json) -> Converted:
    """https://segment.com/docs/connections/storage/catalog/aws-s3: the messages as they were received."""
    kind = fields.get("type")
    message = {**fields, "timestamp": fields.get("timestamp") or fields.get("receivedAt"), "sentAt": None}
    reading = read_message(message, str(kind or ""), None, 0.0)
    if reading.problem:
        raise ValueError(reading.problem)
    skipped = "" if reading.event or reading.identity else "says nothing that is needed here"
    return Converted(reading.event, reading.identity, skipped)


def _from_stripe(fields: Json) -> Converted:
    """https://docs.stripe.com/api/events/list: event objects; and the dashboard's export of payments as CSV."""
    if fields.get("object") == "event":
        reading = read_stripe_event(fields)
        return Converted(
            reading.event,
            reading.identity,
            "" if reading.event or reading.identity else "no event of a customer's life",
        )
    return _from_stripe_payment(fields)


VISITOR: Final = "a visitor who isn't known"
MIXPANEL_DEVICE: Final = "$device:"  # the prefix of the id of a device without a sign-in
MIXPANEL_MERGES: Final = ("$identify", "$create_alias", "$merge")
STATUSES: Final = {"paid": "invoice_paid", "succeeded": "invoice_paid", "failed": "invoice_overdue",
                   "refunded": "refund_requested", "partially refunded": "refund_requested",
                   "partial refund": "refund_requested"}  # fmt: skip


def _from_stripe_payment(fields: Json) -> Converted:
    cells = {name.casefold(): value for name, value in fields.items()}
    customer = name_customer(cells.get("customer email"), cells.get("customer id"))
    name = STATUSES.get(str(cells.get("status", "")).casefold())
    if name is None:
        return Converted(skipped=f"a payment that is {cells.get('status') or 'of no status'}")
    refunded = cells.get("refunded date (utc)") if name == "refund_requested" else None
    time = read_time(refunded or cells.get("created date (utc)") or cells.get("created (utc)"))
    amount = cells.get("amount refunded") if name == "refund_requested" else None
    own = {"amount": read_amount(amount or cells.get("amount")), "currency": str(cells.get("currency") or "").upper()}
    own |= {"invoice_id": cells.get("invoice id")}
    return make_event(name, customer, time, _drop_empty(own), cells.get("id"))


def _make_identity(user_id: object, email: object, traits: Json, time: object) -> Converted:
    named = {"user_id": None if user_id is None else str(user_id), "customer_email": email}
    return Converted(identity=_drop_empty({**named, "traits": traits, "timestamp": read_time(time)}))


def _as_json(value: object) -> Json:
    """An object, or the one that a text holds. Raises ValueError."""
    if isinstance(value, str) and value:
        return _decode(value)
    return as_object(value)


def _drop_empty(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


PRESETS: Mapping[str, Preset] = {
    "mixpanel": Preset(Columns(("event", "distinct_id"), ("event", "distinct_id", "time")), _from_mixpanel),
    "amplitude": Preset(Columns(("event_type", "user_id"), ("event_type", "user_id", "event_time")), _from_amplitude),
    "posthog": Preset(
        Columns(("event", "distinct_id"), ("uuid", "event", "distinct_id", "timestamp", "properties")), _from_posthog
    ),
    "segment": Preset(Columns(("event",), ("event",)), _from_segment),
    "stripe": Preset(Columns(("id", "Status"), ()), _from_stripe),
}
