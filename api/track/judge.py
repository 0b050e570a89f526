"""The slow way of checking a body: finds what is wrong, event by event, and keeps the rest.

A body may hold a million values, so nothing is decoded before its size is known. Events and fields are cut out of the
JSON as they were sent, which builds nothing; only the fields that are read are decoded, event by event.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from api.errors import Refused
from api.track.answers import Rejected
from api.track.rules import FIELDS, Fault, find_faults
from scoring.events import MAX_BATCH, MAX_PROPERTIES_BYTES
from workers.buffer.entries import Request, decode_events, parse_instant

LIST_ALL_COLONS = 10_000  # of an event; beyond, the fields that are not read are too many to be listed
MOST_UNREAD = 20  # fields of an event that are listed
MORE_FIELDS = "…"
MARKED_BYTES = 512 * 1024  # of a batch in which halves of surrogate pairs are looked for
ESCAPED_BYTES = 6  # of a character, at most: \u0041

TOO_DEEP = "The body is nested too deeply."
NOT_TEXT = object()
TOO_LONG = {"": "x" * (MAX_PROPERTIES_BYTES + 1)}  # in place of properties that are too long to be decoded
LONE_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u"
    rb"(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})"
)

RawField = Raw | UnsetType
RawEvent = msgspec.defstruct("RawEvent", [(field, RawField, UNSET) for field in FIELDS], gc=False)
FirstEvents = msgspec.defstruct(
    "FirstEvents", [(f"event_{n}", RawField, UNSET) for n in range(MAX_BATCH + 1)], array_like=True, gc=False
)


class RawBody(Struct, gc=False):
    """A body: an event of its own, or a batch."""

    events: RawField = UNSET
    event: RawField = UNSET


class Ignored(NamedTuple):
    """A field that is not read: misspelt, perhaps."""

    place: int
    field: str
    event: object


class Checked(NamedTuple):
    """A checked request: the body for the buffer, how many events are in it, the newest's time (epoch seconds; the time
    of receipt for an event without one), the refused events, their names, the ignored fields, and of each event the
    address and the user id, where that is known already."""

    body: bytes
    events: int
    newest: float
    rejected: Sequence[Rejected] = ()
    names: Sequence[object] = ()
    ignored: Sequence[Ignored] = ()
    customers: Sequence[tuple[str | None, str | None]] = ()

    @property
    def refusal(self) -> Refused | None:
        """The answer if no event is valid, else None."""
        if self.events:
            return None
        message = self.rejected[0].message if len(self.rejected) == 1 else None
        return Refused("invalid_event", message, {"rejected": self.rejected})


class Verdict(NamedTuple):
    """The verdict on an event: its fields as they were sent, its first fault, or None; its time; its name; the fields
    that are not read."""

    fields: Any
    fault: Fault | None
    at: float
    name: object = None
    unread: Sequence[str] = ()


_decode_body = msgspec.json.Decoder(RawBody).decode
_decode_events: Callable[[Raw], Any] = msgspec.json.Decoder(FirstEvents).decode
_decode_fields: Callable[[bytes], Any] = msgspec.json.Decoder(RawEvent).decode
_decode_names = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_decode_any = msgspec.json.Decoder().decode


def judge(body: bytes, now: float) -> Checked:
    """Returns what a body holds, as of `now` (epoch seconds). Raises Refused: malformed_json, batch_too_large."""
    try:
        return _judge_body(body, now)
    except RecursionError:  # some readers need a little more of the stack than others
        raise Refused("malformed_json", TOO_DEEP) from None


def _judge_body(body: bytes, now: float) -> Checked:
    _read(bytes.decode, body)
    body = _mark_lone_surrogates(body)
    fields = _read(_decode_body, body)
    if fields.events is UNSET:
        return _sort_out(body, [body], now, [])
    if fields.event is not UNSET:
        return _refuse_all("Send either one event or `events`, not both.")
    try:
        raws = [bytes(raw) for raw in msgspec.structs.astuple(_decode_events(fields.events)) if raw is not UNSET]
    except msgspec.ValidationError:
        return _refuse_all("`events` must be a list of events.")
    if not raws:
        return _refuse_all(f"`events` is empty; send 1 to {MAX_BATCH} events.")
    if len(raws) > MAX_BATCH:
        raise Refused("batch_too_large", f"The batch has over {MAX_BATCH} events; split it.")
    beside = len(body) - len(bytes(fields.events))
    return _sort_out(body, raws, now, [Ignored(0, name, None) for name in _list_unread(body, ("events",), beside)])


def _refuse_all(message: str) -> Checked:
    return Checked(b"", 0, 0.0, [Rejected(0, "events", "events_invalid", message)], [None])


def _read(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Returns decoded JSON. Raises Refused, malformed_json, unless it is JSON of the expected kind in UTF-8."""
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise Refused("malformed_json") from None
    except UnicodeDecodeError:
        raise Refused("malformed_json", "The body is not UTF-8.") from None
    except ValueError as error:
        raise Refused("malformed_json", f"The body can't be read: {error}.") from None


def _mark_lone_surrogates(body: bytes) -> bytes:
    """Returns a batch with NUL in place of each half of a surrogate pair: so the event that has it is refused, and not
    the whole batch, which nobody could decode."""
    if len(body) > MARKED_BYTES or b'"events"' not in body or rb"\ud" not in body.lower():
        return body
    return LONE_SURROGATE.sub(rb"\1\\u0000", body)


def _sort_out(body: bytes, raws: list[bytes], now: float, ignored: list[Ignored]) -> Checked:
    verdicts = [_judge(raw, now) for raw in raws]
    good = [verdict.fields for verdict in verdicts if verdict.fault is None]
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


def _rewrite(events: list[Any]) -> bytes:
    """Returns the events with the fields that are read, each once; their values as they were sent."""
    return b'{"events":[' + b",".join(b"{" + b",".join(_write_fields(event)) + b"}" for event in events) + b"]}"


def _write_fields(event: Any) -> Iterator[bytes]:
    for name in FIELDS:
        if (raw := getattr(event, name)) is not UNSET:
            yield b'"%b":%b' % (name.encode(), bytes(raw))


def _judge(raw: bytes, now: float) -> Verdict:
    try:
        fields = _decode_fields(raw)
    except msgspec.ValidationError:
        return Verdict(None, Fault("event", "event_invalid", "An event must be an object."), now)
    unread = _list_unread(raw, FIELDS, len(raw))
    event = {name: _decode_field(name, getattr(fields, name)) for name in FIELDS}
    if event["properties"] is NOT_TEXT:
        fault = Fault("properties", "properties_invalid", "A number is too large to be read.")
        return Verdict(fields, fault, now, event["event"], unread)
    fault_found = next(find_faults(event, now), None)
    at = now
    if fault_found is None and event["timestamp"] is not None:
        at = parse_instant(event["timestamp"]).timestamp()
    return Verdict(fields, fault_found, at, event["event"], unread)


def _decode_field(name: str, raw: RawField) -> Any:
    """Returns a field's value; NOT_TEXT for one that is neither a text nor null, and for properties with a number that
    can't be read."""
    if raw is UNSET:
        return None
    try:
        return _decode_properties(bytes(raw)) if name == "properties" else _decode_text(raw)
    except msgspec.ValidationError:
        return NOT_TEXT


def _decode_properties(raw: bytes) -> Any:
    if len(raw) > MAX_PROPERTIES_BYTES:
        raw = msgspec.json.format(raw, indent=-1)  # without blanks
        if len(raw) > MAX_PROPERTIES_BYTES * ESCAPED_BYTES:
            return TOO_LONG
    return _decode_any(raw)


def _list_unread(raw: bytes, read: Sequence[str], size: int) -> Sequence[str]:
    """Returns the names of fields that are not read. `size`: how many bytes of the JSON may be names."""
    if size > LIST_ALL_COLONS and raw.count(b":") > LIST_ALL_COLONS:
        return (MORE_FIELDS,) if _holds_more_than(raw, read) else ()
    return [name for name in _decode_names(raw) if name not in read][:MOST_UNREAD]


def _holds_more_than(raw: bytes, read: Sequence[str]) -> bool:
    """Returns whether an object that is too large to be taken apart has fields besides these."""
    try:
        msgspec.json.decode(raw, type=STRICT[tuple(read)])
    except msgspec.ValidationError:
        return True
    return False


STRICT: dict[tuple[str, ...], Any] = {
    names: msgspec.defstruct("Strict", [(name, RawField, UNSET) for name in names], forbid_unknown_fields=True)
    for names in (FIELDS, ("events",))
}
