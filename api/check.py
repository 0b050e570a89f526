"""Is what was sent an event? The rules of the track route, and what is said when one is broken.

Valid requests, nearly all, take the quick way: one typed decode, and per event a few look-ups and comparisons. Whatever
is unusual takes the slow way, which finds out what is wrong, event by event, and keeps the rest.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from api.errors import Refused
from scoring.events import (
    MAX_BATCH,
    MAX_EMAIL,
    MAX_EVENT_ID,
    MAX_EVENT_NAME,
    MAX_PROPERTIES_BYTES,
    MAX_PROPERTIES_DEPTH,
    MAX_PROPERTIES_KEYS,
)
from workers.wire import instant, normal_email

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD_SECONDS = 3600
FIELDS = ("event", "customer_email", "properties", "timestamp", "event_id")
REMEMBER_STRINGS = 50_000

EMAIL = re.compile(
    r"[^\s@\x00-\x1f\x7f]+@[^\s@.\x00-\x1f\x7f,;:<>()\[\]\\\"]+(?:\.[^\s@.\x00-\x1f\x7f,;:<>()\[\]\\\"]+)+"
)
EVENT_ID = re.compile(r"[A-Za-z0-9._:-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
NUL_ESCAPE = rb"\u0000"


class Event(Struct, forbid_unknown_fields=True):
    """One event."""

    event: str
    customer_email: str
    properties: dict[str, Any] | None = None
    timestamp: str | None = None
    event_id: str | None = None


class Batch(Struct, forbid_unknown_fields=True):
    """1 to 100 events."""

    events: list[Event]


class Rejected(Struct):
    """Why an event of a request was not taken."""

    index: int
    field: str
    code: str
    message: str


class Ignored(NamedTuple):
    """A field that nobody reads: misspelt, perhaps."""

    event: int
    field: str


class Checked(NamedTuple):
    """What a request holds: the body that goes into the buffer, how many events are in it, the newest's time (epoch
    seconds; the time of receipt where an event brings none), and what was refused or ignored."""

    body: bytes
    events: int
    newest: float
    rejected: Sequence[Rejected] = ()
    ignored: Sequence[Ignored] = ()


class Unusual(Exception):
    """The quick way doesn't know what to make of it."""


class Strings:
    """Strings that were found valid lately, so that the same ones need no second look."""

    def __init__(self, valid: Callable[[str], bool]) -> None:
        self._valid = valid
        self._known: set[str] = set()

    def __contains__(self, value: str) -> bool:
        if value in self._known:
            return True
        if not self._valid(value):
            return False
        if len(self._known) >= REMEMBER_STRINGS:
            self._known.clear()
        self._known.add(value)
        return True


def valid_name(name: str) -> bool:
    """Whether this can be an event's name."""
    return len(name) <= MAX_EVENT_NAME and bool(name.strip()) and not CONTROL.search(name)


def valid_email(email: str) -> bool:
    """Whether this can be an address, once trimmed and lower-cased."""
    normal = normal_email(email)
    return len(normal) <= MAX_EMAIL and EMAIL.fullmatch(normal) is not None


def valid_event_id(event_id: str) -> bool:
    """Whether this can be a producer's own id."""
    return len(event_id) <= MAX_EVENT_ID and EVENT_ID.fullmatch(event_id) is not None


_names, _emails = Strings(valid_name), Strings(valid_email)
_decode_event = msgspec.json.Decoder(Event).decode
_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_raw = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode


def check(body: bytes, now: float) -> Checked:
    """What a request's body holds, as of `now` (epoch seconds).

    Raises Refused: malformed_json, batch_too_large, and invalid_event where nothing in it is valid.
    """
    try:
        return _quick(body, now)
    except (Unusual, ValueError, RecursionError):
        return _slow(body, now)


def _quick(body: bytes, now: float) -> Checked:
    is_batch = b'"events"' in body
    events = _decode_batch(body).events if is_batch else [_decode_event(body)]
    if not 1 <= len(events) <= MAX_BATCH or NUL_ESCAPE in body:
        raise Unusual
    plain = len(body) <= MAX_PROPERTIES_BYTES and _is_flat(body, events, is_batch)
    newest = 0.0
    latest = now + AHEAD_SECONDS
    for event in events:
        if event.event not in _names or event.customer_email not in _emails:
            raise Unusual
        if event.timestamp is None:
            newest = now
        else:
            at = instant(event.timestamp)
            seconds = at.timestamp()
            if at < EARLIEST or seconds > latest:
                raise Unusual
            newest = max(newest, seconds)
        if event.event_id is not None and not valid_event_id(event.event_id):
            raise Unusual
        if event.properties and not (plain and len(event.properties) <= MAX_PROPERTIES_KEYS):
            _properties_fault(event.properties, Unusual)
    return Checked(body, len(events), newest)


def _is_flat(body: bytes, events: list[Event], is_batch: bool) -> bool:
    """Whether no property holds an object or a list, judged by the brackets alone."""
    objects = len(events) + sum(event.properties is not None for event in events)
    return body.count(b"{") <= objects + is_batch and body.count(b"[") <= is_batch


def _slow(body: bytes, now: float) -> Checked:
    fields = _readable(_decode_raw, body)
    if "events" not in fields:
        return _sort_out(body, [body], now, [])
    if "event" in fields:
        raise _nothing_valid([Rejected(0, "events", "events_invalid", "Send either one event or `events`, not both.")])
    try:
        raws = [bytes(raw) for raw in _decode_raws(fields["events"])]
    except msgspec.ValidationError:
        raise _nothing_valid([Rejected(0, "events", "events_invalid", "`events` must be a list of events.")]) from None
    if not raws:
        raise _nothing_valid([Rejected(0, "events", "events_invalid", "`events` is empty; send 1 to 100 events.")])
    if len(raws) > MAX_BATCH:
        raise Refused("batch_too_large", f"The batch has {len(raws)} events; at most {MAX_BATCH} are taken. Split it.")
    return _sort_out(body, raws, now, [Ignored(0, name) for name in fields if name != "events"])


def _readable(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Decoded JSON. Raises Refused, malformed_json, unless it is JSON of the expected kind in UTF-8."""
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise Refused("malformed_json") from None
    except RecursionError:
        raise Refused("malformed_json", "The body is nested past all sense.") from None
    except UnicodeDecodeError:
        raise Refused("malformed_json", "The body is not UTF-8.") from None
    except ValueError as error:
        raise Refused("malformed_json", f"The body can't be read: {error}.") from None


def _sort_out(body: bytes, raws: list[bytes], now: float, ignored: list[Ignored]) -> Checked:
    good: list[bytes] = []
    rejected: list[Rejected] = []
    newest = 0.0
    for index, raw in enumerate(raws):
        fault, at, unread = _judge(raw, now)
        ignored += [Ignored(index, name) for name in unread]
        if fault is None:
            good.append(raw)
            newest = max(newest, at)
        else:
            rejected.append(Rejected(index, *fault))
    if not good:
        raise _nothing_valid(rejected)
    kept = b'{"events":[' + b",".join(good) + b"]}" if rejected else body
    return Checked(kept, len(good), newest, rejected, ignored)


def _nothing_valid(rejected: list[Rejected]) -> Refused:
    message = rejected[0].message if len(rejected) == 1 else None
    return Refused("invalid_event", message, {"rejected": rejected})


class Fault(NamedTuple):
    """What is wrong with an event: the field, the code, the sentence."""

    field: str
    code: str
    message: str


def _judge(raw: bytes, now: float) -> tuple[Fault | None, float, list[str]]:
    """An event's first fault, if any; its time; and the fields that nobody reads."""
    try:
        event = _decode_any(raw)
    except msgspec.ValidationError:
        return Fault("properties", "properties_invalid", "A number is too large to be read."), now, []
    except (ValueError, RecursionError):
        _readable(_decode_any, raw)  # says what is wrong with the whole body
        raise
    if not isinstance(event, dict):
        return Fault("event", "event_invalid", "An event must be an object."), now, []
    fault = next(_faults(event, now), None)
    at = now
    if fault is None and event.get("timestamp") is not None:
        at = instant(event["timestamp"]).timestamp()
    return fault, at, [name for name in event if name not in FIELDS]


def _faults(event: dict[str, Any], now: float) -> Iterator[Fault]:
    yield from _name_faults(event.get("event"))
    yield from _email_faults(event.get("customer_email"))
    yield from _properties_faults(event.get("properties"))
    yield from _timestamp_faults(event.get("timestamp"), now)
    yield from _event_id_faults(event.get("event_id"))


def _name_faults(name: object) -> Iterator[Fault]:
    if name is None:
        yield Fault("event", "event_invalid", "`event` is required: the event's name.")
    elif not isinstance(name, str):
        yield Fault("event", "event_invalid", "`event` must be a string.")
    elif not valid_name(name):
        message = f"`event` must have 1 to {MAX_EVENT_NAME} characters, not blank, no control characters."
        yield Fault("event", "event_invalid", message)


def _email_faults(email: object) -> Iterator[Fault]:
    code = "customer_email_invalid"
    if email is None:
        yield Fault("customer_email", code, "`customer_email` is required.")
    elif not isinstance(email, str):
        yield Fault("customer_email", code, "`customer_email` must be a string.")
    elif not valid_email(email):
        message = f"`customer_email` must be an address like local@domain.tld of at most {MAX_EMAIL} characters."
        yield Fault("customer_email", code, message)


def _properties_faults(properties: object) -> Iterator[Fault]:
    if properties is None:
        return
    if not isinstance(properties, dict):
        yield Fault("properties", "properties_invalid", "`properties` must be an object.")
        return
    try:
        _properties_fault(properties, ValueError)
    except ValueError as error:
        yield Fault("properties", "properties_invalid", str(error))


def _properties_fault(properties: dict[str, Any], kind: type[Exception]) -> None:
    """Raise `kind` with a sentence where a limit is passed."""
    if len(msgspec.json.encode(properties)) > MAX_PROPERTIES_BYTES:
        raise kind(f"`properties` may have at most {MAX_PROPERTIES_BYTES // 1024} KiB as JSON.")
    layer: list[Any] = [properties]
    for _ in range(MAX_PROPERTIES_DEPTH):
        if any(len(value) > MAX_PROPERTIES_KEYS for value in layer if isinstance(value, dict)):
            raise kind(f"An object in `properties` may have at most {MAX_PROPERTIES_KEYS} keys.")
        inner = [part for value in layer for part in _parts(value)]
        if any(isinstance(part, str) and "\0" in part for part in inner):
            raise kind("`properties` may not hold the character NUL (\\u0000).")
        layer = [part for part in inner if isinstance(part, dict | list)]
        if not layer:
            return
    raise kind(f"`properties` may be nested at most {MAX_PROPERTIES_DEPTH} levels deep.")


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    else:
        yield from value


def _timestamp_faults(timestamp: object, now: float) -> Iterator[Fault]:
    code = "timestamp_invalid"
    if timestamp is None:
        return
    if not isinstance(timestamp, str):
        yield Fault("timestamp", code, "`timestamp` must be a string in ISO 8601, like 2025-12-01T10:00:00Z.")
        return
    try:
        at = instant(timestamp)
    except ValueError:
        yield Fault("timestamp", code, "`timestamp` is not ISO 8601; write it like 2025-12-01T10:00:00Z.")
        return
    if at < EARLIEST:
        yield Fault("timestamp", code, "`timestamp` is before the year 2000.")
    elif at.timestamp() > now + AHEAD_SECONDS:
        yield Fault("timestamp", code, "`timestamp` is more than 1 hour ahead of our clock.")


def _event_id_faults(event_id: object) -> Iterator[Fault]:
    if event_id is None:
        return
    if not isinstance(event_id, str) or not valid_event_id(event_id):
        message = f"`event_id` must have 1 to {MAX_EVENT_ID} characters of A-Z a-z 0-9 . _ : -"
        yield Fault("event_id", "event_id_invalid", message)
