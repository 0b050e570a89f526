"""Is what was sent an event? The rules of the track route, and what is said when one is broken.

Valid requests, nearly all, take the quick way: one typed decode, and per event a few look-ups and comparisons. Whatever
is unusual takes the slow way, which finds out what is wrong, event by event, and keeps the rest.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from api.errors import Refused
from api.track.rules import (
    AHEAD_SECONDS,
    EARLIEST,
    Fault,
    check_properties,
    faults,
    valid_email,
    valid_event_id,
    valid_name,
)
from scoring.events import MAX_BATCH, MAX_PROPERTIES_BYTES, MAX_PROPERTIES_KEYS
from workers.buffer.rows import Request, events_of, instant

FIELDS = ("event", "customer_email", "properties", "timestamp", "event_id")
REMEMBER_STRINGS = 50_000
REMEMBER_CHARACTERS = 300  # an address may be padded with any number of blanks

NUL_ESCAPE = rb"\u0000"


class Event(Struct, forbid_unknown_fields=True, gc=False):
    """One event. Its timestamp is in the form of RFC 3339; other forms of ISO 8601 take the slow way."""

    event: str
    customer_email: str
    properties: dict[str, Any] | None = None
    timestamp: datetime | None = None
    event_id: str | None = None


class Batch(Struct, forbid_unknown_fields=True, gc=False):
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

    place: int
    field: str
    event: object


class Checked(NamedTuple):
    """What a request holds: the body that goes into the buffer, how many events are in it, the newest's time (epoch
    seconds; the time of receipt where an event brings none), what was refused, under which names, what was ignored."""

    body: bytes
    events: int
    newest: float
    rejected: Sequence[Rejected] = ()
    names: Sequence[object] = ()
    ignored: Sequence[Ignored] = ()

    @property
    def refusal(self) -> Refused | None:
        """What is answered where nothing is valid."""
        if self.events:
            return None
        message = self.rejected[0].message if len(self.rejected) == 1 else None
        return Refused("invalid_event", message, {"rejected": self.rejected})


class Unusual(Exception):
    """The quick way doesn't know what to make of it."""


class Strings:
    """Strings that were found valid lately, so that the same ones need no second look."""

    def __init__(self, valid: Callable[[str], bool]) -> None:
        self._valid = valid
        self._known: set[str] = set()

    def are_valid(self, values: list[str]) -> bool:
        """Whether all of these are."""
        if self._known.issuperset(values):
            return True
        if not all(map(self._valid, values)):
            return False
        if len(self._known) >= REMEMBER_STRINGS:
            self._known.clear()
        self._known.update(value for value in values if len(value) <= REMEMBER_CHARACTERS)
        return True


_names, _emails = Strings(valid_name), Strings(valid_email)
_decode_event = msgspec.json.Decoder(Event).decode
_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_raw = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_any = msgspec.json.Decoder().decode


def check(body: bytes, now: float) -> Checked:
    """What a request's body holds, as of `now` (epoch seconds). Raises Refused: malformed_json, batch_too_large."""
    try:
        return _quick(body, now)
    except (Unusual, ValueError, TypeError, RecursionError):  # TypeError: times with and without an offset
        return _slow(body, now)


def _quick(body: bytes, now: float) -> Checked:
    is_batch = b'"events"' in body
    events = _decode_batch(body).events if is_batch else [_decode_event(body)]
    if not (
        1 <= len(events) <= MAX_BATCH
        and not (b"\\" in body and NUL_ESCAPE in body)
        and _names.are_valid([event.event for event in events])
        and _emails.are_valid([event.customer_email for event in events])
        and all(valid_event_id(event.event_id) for event in events if event.event_id is not None)
    ):
        raise Unusual
    _check_all_properties(body, events, is_batch)
    return Checked(body, len(events), _newest(events, now))


def _newest(events: list[Event], now: float) -> float:
    """The time of the newest event, in epoch seconds. Raises Unusual where one can't be."""
    times = [event.timestamp for event in events if event.timestamp is not None]
    if not times:
        return now
    newest = max(times).timestamp()
    if min(times) < EARLIEST or newest > now + AHEAD_SECONDS:
        raise Unusual
    return newest if len(times) == len(events) else max(newest, now)


def _check_all_properties(body: bytes, events: list[Event], is_batch: bool) -> None:
    """Raise Unusual where a limit is passed. What is small, and flat by its brackets, needs no closer look."""
    given = [event.properties for event in events if event.properties]
    if len(body) > MAX_PROPERTIES_BYTES or not _is_flat(body, events, is_batch):
        for properties in given:
            check_properties(properties, Unusual)
    elif any(len(properties) > MAX_PROPERTIES_KEYS for properties in given):
        raise Unusual


def _is_flat(body: bytes, events: list[Event], is_batch: bool) -> bool:
    """Whether no property holds an object or a list, judged by the brackets alone."""
    objects = len(events) + sum(event.properties is not None for event in events)
    return body.count(b"{") <= objects + is_batch and body.count(b"[") <= is_batch


def _slow(body: bytes, now: float) -> Checked:
    fields = _readable(_decode_raw, body)
    if "events" not in fields:
        return _sort_out(body, [body], now, [])
    if "event" in fields:
        return _no_events("Send either one event or `events`, not both.")
    try:
        raws = [bytes(raw) for raw in _decode_raws(fields["events"])]
    except msgspec.ValidationError:
        return _no_events("`events` must be a list of events.")
    if not raws:
        return _no_events("`events` is empty; send 1 to 100 events.")
    if len(raws) > MAX_BATCH:
        raise Refused("batch_too_large", f"The batch has {len(raws)} events; at most {MAX_BATCH} are taken. Split it.")
    return _sort_out(body, raws, now, [Ignored(0, name, None) for name in fields if name != "events"])


def _no_events(message: str) -> Checked:
    return Checked(b"", 0, 0.0, [Rejected(0, "events", "events_invalid", message)], [None])


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
    judged = [_judge(raw, now) for raw in raws]
    good = [raw for raw, one in zip(raws, judged, strict=True) if one.fault is None]
    bad = [(index, one) for index, one in enumerate(judged) if one.fault is not None]
    ignored = ignored + [Ignored(index, field, one.name) for index, one in enumerate(judged) for field in one.unread]
    return Checked(
        body if not bad and not ignored and _is_read_alike(body, len(good)) else _written_anew(good),
        len(good),
        max((one.at for one in judged if one.fault is None), default=0.0),
        [Rejected(index, *one.fault) for index, one in bad if one.fault],
        [one.name for _, one in bad],
        ignored,
    )


def _is_read_alike(body: bytes, events: int) -> bool:
    """Whether the workers can read what was judged here: not, for one, where a key comes twice and was wrong first."""
    try:
        return len(events_of(Request(0, 0, body))) == events
    except ValueError:
        return False


def _written_anew(raws: list[bytes]) -> bytes:
    """The events with the fields that are read, each once; their values as they were sent."""
    return b'{"events":[' + b",".join(_fields_anew(_decode_raw(raw)) for raw in raws) + b"]}"


def _fields_anew(fields: dict[str, Raw]) -> bytes:
    known = (b'"%b":%b' % (name.encode(), bytes(fields[name])) for name in FIELDS if name in fields)
    return b"{" + b",".join(known) + b"}"


class Judged(NamedTuple):
    """What is to be said of an event: its first fault, if any; its time; its name; the fields that nobody reads."""

    fault: Fault | None
    at: float
    name: object = None
    unread: Sequence[str] = ()


def _judge(raw: bytes, now: float) -> Judged:
    try:
        event = _decode_any(raw)
    except msgspec.ValidationError:
        return Judged(Fault("properties", "properties_invalid", "A number is too large to be read."), now)
    except (ValueError, RecursionError):
        _readable(_decode_any, raw)  # says what is wrong with the whole body
        raise
    if not isinstance(event, dict):
        return Judged(Fault("event", "event_invalid", "An event must be an object."), now)
    fault = next(faults(event, now), None)
    at = now
    if fault is None and event.get("timestamp") is not None:
        at = instant(event["timestamp"]).timestamp()
    return Judged(fault, at, event.get("event"), [name for name in event if name not in FIELDS])
