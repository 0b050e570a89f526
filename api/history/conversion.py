"""Converts a record of another product's export into an event, an identity, or nothing."""

from math import isfinite
from typing import Any, NamedTuple

from api.track.rules import valid_email, valid_event_id

Json = dict[str, Any]


class Converted(NamedTuple):
    """An event, an identity, both, or why a record is neither (and nothing to mend)."""

    event: Json | None = None
    identity: Json | None = None
    skipped: str = ""


def name_customer(email: object, user_id: object) -> Json:
    """The address if there is one (also where the id is one), else the user id. Raises ValueError."""
    for candidate in (email, user_id):
        if isinstance(candidate, str) and valid_email(candidate):
            return {"customer_email": candidate}
    if user_id is None or user_id == "":
        raise ValueError("it names neither an address nor a user id")
    return {"user_id": str(user_id)}


def make_event(
    name: object, customer: Json, timestamp: str | None, properties: Json, event_id: object = None
) -> Converted:
    """An event with what is known of it."""
    event: Json = {"event": name, **customer, "timestamp": timestamp, "properties": properties or None}
    if isinstance(event_id, str) and valid_event_id(event_id):
        event["event_id"] = event_id
    return Converted(event={field: value for field, value in event.items() if value is not None})


def read_amount(value: object) -> float | None:
    """An amount of money as a number: 49.00, 1,234.50 or 399,00; None where it is none."""
    if isinstance(value, int | float):
        return value
    text = str(value or "").replace("\u00a0", "").replace(" ", "")
    comma, point = text.rfind(","), text.rfind(".")
    text = text.replace(".", "").replace(",", ".") if comma > point else text.replace(",", "")
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if isfinite(amount) else None


def as_object(value: object) -> Json:
    """An object, or an empty one."""
    return dict(value) if isinstance(value, dict) else {}


def without_prefix(properties: Json, *prefixes: str) -> Json:
    """Properties but for those whose names begin so."""
    return {name: value for name, value in properties.items() if not name.startswith(prefixes)}
