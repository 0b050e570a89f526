"""Reads a message of Segment's: as an event, an identity, both or nothing. Pure functions.

https://segment.com/docs/connections/spec/ describes the messages. A message belongs to the address that it names
(`traits.email`, `context.traits.email`, `properties.email`, a `userId` that is one), else to its `userId`.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from api.track.rules import valid_email, valid_event_id
from workers.buffer.entries import parse_instant

Json = dict[str, Any]

CLOCK_SECONDS = 300.0  # by which a device's clock may be wrong before its times are corrected
CALLS = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}
VIEWS = {"page": "page_viewed", "screen": "screen_viewed"}
NOBODY = "The message names no address and no `userId`: events of visitors who aren't known belong elsewhere."
NO_OBJECT = "A message must be an object."
UNKNOWN = "`type` must be one of track, identify, page, screen, group, alias."


class MessageReading(NamedTuple):
    """The content of a message. `problem`: the reason if there is none."""

    event: Json | None = None
    identity: Json | None = None
    problem: str | None = None


def read_message(message: object, kind: str | None, sent_at: object, now: float) -> MessageReading:
    """Returns what a message says, as of `now` (epoch seconds). `kind` is its type where the address tells, `sent_at`
    the batch's."""
    if not isinstance(message, dict):
        return MessageReading(problem=NO_OBJECT)
    kind = kind or _text(message.get("type"))
    if kind not in CALLS.values():
        return MessageReading(problem=UNKNOWN)
    timestamp = _correct_time(message, message.get("sentAt") or sent_at, now)
    if kind == "alias":
        return _read_alias(message, timestamp)
    customer = _find_customer(message)
    if not customer:
        return MessageReading(problem=NOBODY)
    if kind in ("identify", "group"):
        traits = _as_object(message.get("traits"))
        content = {"traits": traits if kind == "identify" else _read_group(message, traits), "timestamp": timestamp}
        return MessageReading(identity=_drop_nothing({**_name_both(message), **content}))
    return MessageReading(event=_make_event(message, kind, customer, timestamp))


def _make_event(message: Json, kind: str, customer: Json, timestamp: str | None) -> Json:
    properties = _as_object(message.get("properties"))
    name: object = message.get("event")
    if kind in VIEWS:
        name = VIEWS[kind]
        properties = {**properties, "page": _find_page(message, properties)}
    event = {"event": name, **customer, "properties": _drop_nothing(properties), "timestamp": timestamp}
    return _drop_nothing({**event, "event_id": _make_event_id(message.get("messageId"))})


def _find_page(message: Json, properties: Json) -> object:
    """Returns the page's name, else its path."""
    context = _as_object(_as_object(message.get("context")).get("page"))
    return message.get("name") or properties.get("name") or properties.get("path") or context.get("path")


def _find_customer(message: Json) -> Json:
    """Returns the address or the user id that an event belongs to; empty if it names neither."""
    for email in _list_addresses(message):
        return {"customer_email": email}
    user_id = _find_user_id(message)
    return {"user_id": user_id} if user_id else {}


def _name_both(message: Json) -> Json:
    """Returns the address and the user id that an identity connects."""
    email, user_id = next(_list_addresses(message), None), _find_user_id(message)
    return {"customer_email": email, "user_id": None if user_id and valid_email(user_id) else user_id}


def _list_addresses(message: Json) -> Iterator[str]:
    context = _as_object(message.get("context"))
    for place in (message.get("traits"), context.get("traits"), message.get("properties")):
        if isinstance(place, dict) and isinstance(email := place.get("email"), str) and valid_email(email):
            yield email
    user_id = message.get("userId")
    if isinstance(user_id, str) and "@" in user_id and valid_email(user_id):
        yield user_id


def _find_user_id(message: Json) -> str | None:
    """Segment's libraries send numbers as well."""
    user_id = message.get("userId")
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        return str(user_id)
    return user_id if isinstance(user_id, str) and user_id.strip() else None


def _read_group(message: Json, traits: Json) -> Json:
    """A group is a company. Its other traits are the company's, not the person's."""
    return _drop_nothing({"company": traits.get("name") or _text(message.get("groupId")), "plan": traits.get("plan")})


def _read_alias(message: Json, timestamp: str | None) -> MessageReading:
    """An alias names an address for another id; between two ids it says nothing that is needed here."""
    previous, current = _text(message.get("previousId")), _text(message.get("userId"))
    for user_id, email in ((previous, current), (current, previous)):
        if user_id and email and valid_email(email) and not valid_email(user_id):
            named = {"user_id": user_id, "customer_email": email, "timestamp": timestamp}
            return MessageReading(identity=_drop_nothing(named))
    return MessageReading()


def _make_event_id(message_id: object) -> str | None:
    if not isinstance(message_id, str) or not message_id:
        return None
    if valid_event_id(message_id):
        return message_id
    return hashlib.blake2b(message_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _correct_time(message: Json, sent_at: object, now: float) -> str | None:
    """Returns when it happened, by our clock: a device whose clock is wrong is known by the time at which it sent."""
    timestamp = message.get("timestamp") or message.get("originalTimestamp")
    if not isinstance(timestamp, str):
        return None
    if not isinstance(sent_at, str):
        return timestamp
    try:
        happened, sent = parse_instant(timestamp), parse_instant(sent_at)
    except ValueError:
        return timestamp  # refused by the rules
    if abs(now - sent.timestamp()) <= CLOCK_SECONDS:
        return timestamp
    return (datetime.fromtimestamp(now, UTC) - max(sent - happened, timedelta())).isoformat()


def _as_object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _drop_nothing(fields: Json) -> Json:
    values = fields.values()
    if None not in values and "" not in values:
        return fields
    return {name: value for name, value in fields.items() if value is not None and value != ""}
