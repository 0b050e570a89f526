"""The rules of an event, each with the message for when it is broken."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from api.track.answers import EventCode
from scoring.events import (
    MAX_EMAIL,
    MAX_EVENT_ID,
    MAX_EVENT_NAME,
    MAX_PROPERTIES_BYTES,
    MAX_PROPERTIES_DEPTH,
    MAX_PROPERTIES_KEYS,
    MAX_USER_ID,
)
from workers.buffer.entries import normalise_email, parse_instant

FIELDS = ("event", "customer_email", "user_id", "properties", "timestamp", "event_id")  # that are read of an event
OTHER_NAMES = {  # of these fields, in other products' APIs
    **dict.fromkeys(("name", "event_name", "eventname", "event_type", "type", "action"), "event"),
    **dict.fromkeys(("email", "e_mail", "mail", "user_email", "customer"), "customer_email"),
    **dict.fromkeys(("user", "uid", "customer_id", "distinct_id", "external_id"), "user_id"),
    **dict.fromkeys(("time", "date", "ts", "at", "created_at", "createdat", "occurred_at", "sent_at"), "timestamp"),
    **dict.fromkeys(("id", "uuid", "message_id", "messageid", "insert_id", "idempotency_key"), "event_id"),
    **dict.fromkeys(("data", "props", "metadata", "attributes", "traits"), "properties"),
}
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD_SECONDS = 3600

# Characters that can't be seen: with them, two customers would look like one.
INVISIBLE = r"\s\x00-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
LABEL = rf"[^{INVISIBLE}!-,./:-@\[-^`{{-~]+"  # of ASCII: letters, digits, - and _
EMAIL = re.compile(rf"[^{INVISIBLE}@]+@{LABEL}(?:\.{LABEL})+")
VISIBLE = re.compile(rf"[^{INVISIBLE}]")
EVENT_ID = re.compile(r"[A-Za-z0-9._:-]+")
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

TOO_DEEP = f"`properties` may be nested at most {MAX_PROPERTIES_DEPTH} levels deep."
TOO_MANY_KEYS = f"An object in `properties` may have at most {MAX_PROPERTIES_KEYS} keys."
UNSTORABLE = "`properties` may hold neither the character NUL (\\u0000) nor half of a surrogate pair (\\ud800)."
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Fault(NamedTuple):
    """A fault of an event: the field, the code, the message."""

    field: str
    code: EventCode
    message: str


def valid_name(name: str) -> bool:
    """Returns whether this can be an event's name."""
    return len(name) <= MAX_EVENT_NAME and VISIBLE.search(name) is not None and not CONTROL.search(name)


def valid_email(email: str) -> bool:
    """Returns whether this can be an address, once trimmed and lower-cased."""
    normal = normalise_email(email)
    if len(normal) > MAX_EMAIL or EMAIL.fullmatch(normal) is None:
        return False
    plain = email.strip().lower()
    return plain == normal or EMAIL.fullmatch(plain) is not None  # IDNA leaves out characters that can't be seen


def valid_event_id(event_id: str) -> bool:
    """Returns whether this can be a producer's own id."""
    return len(event_id) <= MAX_EVENT_ID and EVENT_ID.fullmatch(event_id) is not None


def find_faults(event: dict[str, Any], now: float) -> Iterator[Fault]:
    """Yields what is wrong with an event, as of `now` (epoch seconds)."""
    yield from _check_name(event.get("event"))
    yield from _check_customer(event.get("customer_email"), event.get("user_id"))
    yield from _check_properties_field(event.get("properties"))
    yield from check_timestamp(event.get("timestamp"), now)
    yield from _check_event_id(event.get("event_id"))


def _check_name(name: object) -> Iterator[Fault]:
    if name is None:
        yield Fault("event", "event_invalid", "`event` is required: the event's name.")
    elif not isinstance(name, str):
        yield Fault("event", "event_invalid", "`event` must be a string.")
    elif not valid_name(name):
        message = f"`event` must have 1 to {MAX_EVENT_NAME} characters, not blank, no control characters."
        yield Fault("event", "event_invalid", message)


def _check_customer(email: object, user_id: object) -> Iterator[Fault]:
    if email is not None or user_id is None:
        yield from check_email(email)
    if user_id is not None:
        yield from check_user_id(user_id)


def valid_user_id(user_id: str) -> bool:
    """Returns whether this can be a user id."""
    return len(user_id) <= MAX_USER_ID and VISIBLE.search(user_id) is not None and not CONTROL.search(user_id)


def check_user_id(user_id: object) -> Iterator[Fault]:
    """Yields what is wrong with a user id."""
    code: EventCode = "user_id_invalid"
    if not isinstance(user_id, str):
        yield Fault("user_id", code, "`user_id` must be a string.")
    elif not valid_user_id(user_id):
        message = f"`user_id` must have 1 to {MAX_USER_ID} characters, not blank, no control characters."
        yield Fault("user_id", code, message)


def check_email(email: object) -> Iterator[Fault]:
    code: EventCode = "customer_email_invalid"
    if email is None:
        yield Fault("customer_email", code, "`customer_email` is required, or `user_id` in place of it.")
    elif not isinstance(email, str):
        yield Fault("customer_email", code, "`customer_email` must be a string.")
    elif not valid_email(email):
        message = f"`customer_email` must be an address like local@domain.tld of at most {MAX_EMAIL} characters."
        yield Fault("customer_email", code, message)


def _check_properties_field(properties: object) -> Iterator[Fault]:
    if properties is None:
        return
    if not isinstance(properties, dict):
        yield Fault("properties", "properties_invalid", "`properties` must be an object.")
        return
    try:
        check_properties(properties)
    except ValueError as error:
        yield Fault("properties", "properties_invalid", str(error))


def check_properties(properties: dict[str, Any]) -> None:
    """Raise ValueError with a sentence where a limit is passed."""
    try:
        encoded = msgspec.json.encode(properties)
    except RecursionError:  # it needs a little more of the stack than reading it did
        raise ValueError(TOO_DEEP) from None
    if len(encoded) > MAX_PROPERTIES_BYTES:
        raise ValueError(f"`properties` may have at most {MAX_PROPERTIES_BYTES // 1024} KiB as JSON.")
    if NUL.search(encoded):
        raise ValueError(UNSTORABLE)
    try:
        _decode_properties(encoded)
    except msgspec.ValidationError as error:
        raise ValueError(TOO_MANY_KEYS if "length" in str(error) else TOO_DEEP) from None


def _nest(levels: int) -> Any:
    """Returns the type of JSON values that are nested at most so many levels deep."""
    value: Any = str | int | float | bool | None
    for _ in range(levels):
        value = str | int | float | bool | None | list[value] | Annotated[dict[str, value], MOST_KEYS]
    return value


MOST_KEYS = Meta(max_length=MAX_PROPERTIES_KEYS)
if TYPE_CHECKING:
    Properties = dict[str, Any]
else:
    Properties = Annotated[dict[str, _nest(MAX_PROPERTIES_DEPTH - 1)], MOST_KEYS]
_decode_properties = msgspec.json.Decoder(Properties).decode


def check_timestamp(timestamp: object, now: float) -> Iterator[Fault]:
    code: EventCode = "timestamp_invalid"
    if timestamp is None:
        return
    if not isinstance(timestamp, str):
        yield Fault("timestamp", code, "`timestamp` must be a string in ISO 8601, like 2025-12-01T10:00:00Z.")
        return
    try:
        at = parse_instant(timestamp)
    except ValueError:
        yield Fault("timestamp", code, "`timestamp` is not ISO 8601; write it like 2025-12-01T10:00:00Z.")
        return
    if at < EARLIEST:
        yield Fault("timestamp", code, "`timestamp` is before the year 2000.")
    elif at.timestamp() > now + AHEAD_SECONDS:
        yield Fault("timestamp", code, "`timestamp` is more than 1 hour ahead of our clock.")


def _check_event_id(event_id: object) -> Iterator[Fault]:
    if event_id is None:
        return
    if not isinstance(event_id, str) or not valid_event_id(event_id):
        message = f"`event_id` must have 1 to {MAX_EVENT_ID} characters of A-Z a-z 0-9 . _ : -"
        yield Fault("event_id", "event_id_invalid", message)
