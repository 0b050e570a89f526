"""The slow way of checking a body: finds what is wrong, event by event, and keeps the rest.

Events and fields are cut out of the JSON as they were sent (see raw_json.py).
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct

from api.errors import Refused
from api.surrogates import NUL, replace_halves
from api.track.answers import Rejected
from api.track.raw_json import NOT_TEXT, TOO_DEEP, RawField, cut_list, decode_object, decode_text, decode_whole
from api.track.rules import FIELDS, Fault, find_faults
from scoring.events import MAX_BATCH
from workers.buffer.entries import Request, decode_events, parse_instant

LIST_ALL_COLONS = 10_000  # of an event; beyond, the fields that are not read are too many to be listed
MOST_UNREAD = 20  # fields of an event that are listed
MORE_FIELDS = "…"

MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SHAPE = 'The body must be a JSON object: an event, or {"events": […]} for several.'
MARKED = "The body begins with a byte order mark; send UTF-8 without one."

RawEvent = msgspec.defstruct("RawEvent", [(field, RawField, UNSET) for field in FIELDS], gc=False)


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
_decode_fields: Callable[[bytes], Any] = msgspec.json.Decoder(RawEvent).decode
_decode_names = msgspec.json.Decoder(dict[str, Raw]).decode


def judge(body: bytes, now: float) -> Checked:
    """Returns what a body holds, as of `now` (epoch seconds). Raises Refused: malformed_json, batch_too_large."""
    try:
        return _judge_body(body, now)
    except RecursionError:  # some readers need a little more of the stack than others
        raise Refused("malformed_json", TOO_DEEP) from None


def _judge_body(body: bytes, now: float) -> Checked:
    if body.startswith(MARKS):
        raise Refused("malformed_json", MARKED)
    decode_whole(bytes.decode, body)
    body = _mark_halves(body)
    fields = decode_whole(_decode_body, body, SHAPE)
    if fields.events is UNSET:
        return _sort_out(body, [body], now, [])
    if fields.event is not UNSET:
        return _refuse_all("Send either one event or `events`, not both.")
    raws = cut_list(fields.events)
    if raws is None:
        return _refuse_all("`events` must be a list of events.")
    if not raws:
        return _refuse_all(f"`events` is empty; send 1 to {MAX_BATCH} events.")
    if len(raws) > MAX_BATCH:
        raise Refused("batch_too_large", f"The batch has over {MAX_BATCH} events; split it.")
    beside = len(body) - len(bytes(fields.events))
    return _sort_out(body, raws, now, [Ignored(0, name, None) for name in _list_unread(body, ("events",), beside)])


def _refuse_all(message: str) -> Checked:
    return Checked(b"", 0, 0.0, [Rejected(0, "events", "events_invalid", message)], [None])


def _mark_halves(body: bytes) -> bytes:
    """Returns a batch with NUL in place of each half of a surrogate pair: only the event that has it is refused, not
    the whole batch, which no decoder would read."""
    return replace_halves(body, NUL) if b'"events"' in body else body


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
    event = {name: (decode_object if name == "properties" else decode_text)(getattr(fields, name)) for name in FIELDS}
    if event["properties"] is NOT_TEXT:
        fault = Fault("properties", "properties_invalid", "A number is too large to be read.")
        return Verdict(fields, fault, now, event["event"], unread)
    first_fault = next(find_faults(event, now), None)
    at = now
    if first_fault is None and event["timestamp"] is not None:
        at = parse_instant(event["timestamp"]).timestamp()
    return Verdict(fields, first_fault, at, event["event"], unread)


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
