"""Checks the body of a request to track.

Valid requests, nearly all, take the quick way: one typed decode, and per event a few look-ups and comparisons. Unusual
ones take the slow way, which finds what is wrong, event by event, and keeps the rest.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from api.errors import Refused
from api.track.answers import Rejected
from api.track.rules import (
    AHEAD_SECONDS,
    EARLIEST,
    Fault,
    check_properties,
    find_faults,
    valid_email,
    valid_event_id,
    valid_name,
)
from scoring.events import MAX_BATCH, MAX_PROPERTIES_BYTES, MAX_PROPERTIES_KEYS
from workers.buffer.entries import Request, decode_events, parse_instant

FIELDS = ("event", "customer_email", "properties", "timestamp", "event_id")
REMEMBER_STRINGS = 50_000
REMEMBER_CHARACTERS = 300  # an address may be padded with any number of blanks

NUL_ESCAPE = rb"\u0000"


class QuickEvent(Struct, forbid_unknown_fields=True, gc=False):
    """An event. Its timestamp is in the form of RFC 3339; other forms of ISO 8601 take the slow way."""

    event: str
    customer_email: str
    properties: dict[str, Any] | None = None
    timestamp: datetime | None = None
    event_id: str | None = None


class QuickBatch(Struct, forbid_unknown_fields=True, gc=False):
    """1 to 100 events."""

    events: list[QuickEvent]


class Ignored(NamedTuple):
    """A field that is not read: misspelt, perhaps."""

    place: int
    field: str
    event: object


class Checked(NamedTuple):
    """A checked request: the body for the buffer, how many events are in it, the newest's time (epoch seconds; the time
    of receipt for an event without one), the refused events, their names, and the ignored fields."""

    body: bytes
    events: int
    newest: float
    rejected: Sequence[Rejected] = ()
    names: Sequence[object] = ()
    ignored: Sequence[Ignored] = ()

    @property
    def refusal(self) -> Refused | None:
        """The answer if no event is valid, else None."""
        if self.events:
            return None
        message = self.rejected[0].message if len(self.rejected) == 1 else None
        return Refused("invalid_event", message, {"rejected": self.rejected})


class Unusual(Exception):
    """The quick way can't judge this request; the slow way does."""


class ValidStrings:
    """Strings that were valid lately, so that the same ones are not checked again."""

    def __init__(self, valid: Callable[[str], bool]) -> None:
        self._valid = valid
        self._valid_lately: set[str] = set()

    def are_valid(self, values: list[str]) -> bool:
        """Returns whether all of these are valid."""
        if self._valid_lately.issuperset(values):
            return True
        if not all(map(self._valid, values)):
            return False
        if len(self._valid_lately) >= REMEMBER_STRINGS:
            self._valid_lately.clear()
        self._valid_lately.update(value for value in values if len(value) <= REMEMBER_CHARACTERS)
        return True


_names, _emails = ValidStrings(valid_name), ValidStrings(valid_email)
_decode_event = msgspec.json.Decoder(QuickEvent).decode
_decode_batch = msgspec.json.Decoder(QuickBatch).decode
_decode_raw = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_any = msgspec.json.Decoder().decode


def check(body: bytes, now: float) -> Checked:
    """Returns what a body holds, as of `now` (epoch seconds). Raises Refused: malformed_json, batch_too_large."""
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
    return Checked(body, len(events), _find_newest(events, now))


def _find_newest(events: list[QuickEvent], now: float) -> float:
    """Returns the time of the newest event, in epoch seconds. Raises Unusual if a time is out of range."""
    times = [event.timestamp for event in events if event.timestamp is not None]
    if not times:
        return now
    newest = max(times).timestamp()
    if min(times) < EARLIEST or newest > now + AHEAD_SECONDS:
        raise Unusual
    return newest if len(times) == len(events) else max(newest, now)


def _check_all_properties(body: bytes, events: list[QuickEvent], is_batch: bool) -> None:
    """Raise Unusual where a limit is passed. A small body that is flat by its brackets needs no closer look."""
    filled = [event.properties for event in events if event.properties]
    if len(body) > MAX_PROPERTIES_BYTES or not _is_flat(body, events, is_batch):
        for properties in filled:
            check_properties(properties, Unusual)
    elif any(len(properties) > MAX_PROPERTIES_KEYS for properties in filled):
        raise Unusual


def _is_flat(body: bytes, events: list[QuickEvent], is_batch: bool) -> bool:
    """Returns whether no property holds an object or a list, judged by the brackets alone."""
    objects = len(events) + sum(event.properties is not None for event in events)
    return body.count(b"{") <= objects + is_batch and body.count(b"[") <= is_batch


def _slow(body: bytes, now: float) -> Checked:
    fields = _read(_decode_raw, body)
    if "events" not in fields:
        return _sort_out(body, [body], now, [])
    if "event" in fields:
        return _refuse_all("Send either one event or `events`, not both.")
    try:
        raws = [bytes(raw) for raw in _decode_raws(fields["events"])]
    except msgspec.ValidationError:
        return _refuse_all("`events` must be a list of events.")
    if not raws:
        return _refuse_all("`events` is empty; send 1 to 100 events.")
    if len(raws) > MAX_BATCH:
        raise Refused("batch_too_large", f"The batch has {len(raws)} events; at most {MAX_BATCH} are taken. Split it.")
    return _sort_out(body, raws, now, [Ignored(0, name, None) for name in fields if name != "events"])


def _refuse_all(message: str) -> Checked:
    return Checked(b"", 0, 0.0, [Rejected(0, "events", "events_invalid", message)], [None])


def _read(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Returns decoded JSON. Raises Refused, malformed_json, unless it is JSON of the expected kind in UTF-8."""
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise Refused("malformed_json") from None
    except RecursionError:
        raise Refused("malformed_json", "The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise Refused("malformed_json", "The body is not UTF-8.") from None
    except ValueError as error:
        raise Refused("malformed_json", f"The body can't be read: {error}.") from None


def _sort_out(body: bytes, raws: list[bytes], now: float, ignored: list[Ignored]) -> Checked:
    verdicts = [_judge(raw, now) for raw in raws]
    good = [raw for raw, verdict in zip(raws, verdicts, strict=True) if verdict.fault is None]
    bad = [(index, verdict) for index, verdict in enumerate(verdicts) if verdict.fault is not None]
    unread = [Ignored(index, field, verdict.name) for index, verdict in enumerate(verdicts) for field in verdict.unread]
    ignored = ignored + unread
    return Checked(
        body if not bad and not ignored and _is_read_alike(body, len(good)) else _rewrite(good),
        len(good),
        max((verdict.at for verdict in verdicts if verdict.fault is None), default=0.0),
        [Rejected(index, *verdict.fault) for index, verdict in bad if verdict.fault],
        [verdict.name for _, verdict in bad],
        ignored,
    )


def _is_read_alike(body: bytes, events: int) -> bool:
    """Returns whether the workers read this body alike. If a key comes twice and was wrong first, they can't."""
    try:
        return len(decode_events(Request(0, 0, body))) == events
    except ValueError:
        return False


def _rewrite(raws: list[bytes]) -> bytes:
    """Returns the events with the fields that are read, each once; their values as they were sent."""
    return b'{"events":[' + b",".join(_rewrite_fields(_decode_raw(raw)) for raw in raws) + b"]}"


def _rewrite_fields(fields: dict[str, Raw]) -> bytes:
    pairs = (b'"%b":%b' % (name.encode(), bytes(fields[name])) for name in FIELDS if name in fields)
    return b"{" + b",".join(pairs) + b"}"


class Verdict(NamedTuple):
    """The verdict on an event: its first fault, or None; its time; its name; the fields that are not read."""

    fault: Fault | None
    at: float
    name: object = None
    unread: Sequence[str] = ()


def _judge(raw: bytes, now: float) -> Verdict:
    try:
        event = _decode_any(raw)
    except msgspec.ValidationError:
        return Verdict(Fault("properties", "properties_invalid", "A number is too large to be read."), now)
    except (ValueError, RecursionError):
        _read(_decode_any, raw)  # says what is wrong with the whole body
        raise
    if not isinstance(event, dict):
        return Verdict(Fault("event", "event_invalid", "An event must be an object."), now)
    fault = next(find_faults(event, now), None)
    at = now
    if fault is None and event.get("timestamp") is not None:
        at = parse_instant(event["timestamp"]).timestamp()
    return Verdict(fault, at, event.get("event"), [name for name in event if name not in FIELDS])
