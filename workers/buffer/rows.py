"""What travels through the buffer, and how an event's bytes become a row.

An entry of the buffer holds requests as they were sent: each with its account, its time of receipt and its body, which
the door has checked. The batch id that the door gave it makes events without any identity of their own unique, so that
an entry that is delivered twice is stored once.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from scoring.events import MAX_EMAIL, detail_of, plan_of, value_of
from workers.buffer.lint import personal_data

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Request(Struct, array_like=True, frozen=True):
    """One accepted request: the raw JSON of an event, or of `{"events": […]}`."""

    account_id: int
    received_us: int
    body: bytes


class Entry(Struct, array_like=True, frozen=True):
    """What is written to the buffer in one go."""

    batch_id: bytes
    requests: list[Request]


class Event(Struct):
    """An event as it was sent. Anything else in it was counted at the door and is left behind."""

    event: str
    customer_email: str
    properties: Raw = Raw(b"null")
    timestamp: str | None = None
    event_id: str | None = None


class Body(Struct):
    """The body of a request: one event, or `events`."""

    events: list[Event] | None = None


class Row(NamedTuple):
    """One event, understood; times in microseconds since 1970. The first three are its key in the table `events`."""

    customer_id: str
    occurred_us: int
    event_key: int
    received_us: int
    identified: bool  # by an event_id
    customer: "KnownCustomer"
    content: "Content"


class Unreadable(NamedTuple):
    """What can't be read of an entry, and why. `entry` holds it alone, as an entry, so that it can be tried again."""

    account_id: int | None
    customer_id: str | None
    received_us: int | None
    entry: bytes
    error: Exception


encode_entry = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_body = msgspec.json.Decoder(Body).decode
_decode_properties = msgspec.json.Decoder(dict[str, Any]).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def normal_email(email: str) -> str:
    """The form in which an address is stored and compared."""
    return email.strip().lower()


def instant(timestamp: str) -> datetime:
    """A point in time from ISO 8601; no offset means UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(timestamp.upper())  # RFC 3339 allows t and z
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def customer_id(account_id: int, email: str) -> str:
    """The customer's id, 32 hexadecimal digits: a hash, so that nobody has to look it up. `email` is normalised."""
    return hashlib.blake2b(f"{account_id}\0{email}".encode(), digest_size=16).hexdigest()


def events_of(request: Request) -> list[Event]:
    """The events of a request. Raises ValueError where the body can't be read."""
    try:
        events = _decode_body(request.body).events if b'"events"' in request.body else None
        return [_decode_event(request.body)] if events is None else events
    except RecursionError:
        raise ValueError("the body is nested past all sense") from None


def rows_of(entry: Entry) -> list[Row]:
    """The rows of an entry, in order. Raises ValueError where something in it can't be read."""
    return [
        row_of(request, event, entry.batch_id + b"%d.%d" % (position, index))
        for position, request in enumerate(entry.requests)
        for index, event in enumerate(events_of(request))
    ]


UNREADABLE = (ValueError, ArithmeticError, LookupError, TypeError)


def read_entry(entry: bytes) -> tuple[list[Row], list[Unreadable]]:
    """The rows of an entry's bytes, and what of it can't be read: all of it, a request, or an event."""
    try:
        decoded = decode_entry(entry)
    except ValueError as error:
        return [], [Unreadable(None, None, None, entry, error)]
    try:
        return rows_of(decoded), []
    except UNREADABLE:
        return _what_can_be_read(decoded)


def _what_can_be_read(entry: Entry) -> tuple[list[Row], list[Unreadable]]:
    rows: list[Row] = []
    unreadable: list[Unreadable] = []
    for position, request in enumerate(entry.requests):
        try:
            events = events_of(request)
        except UNREADABLE as error:
            alone = encode_entry(Entry(entry.batch_id + b"%d/" % position, [request]))
            unreadable.append(Unreadable(request.account_id, None, request.received_us, alone, error))
            continue
        for index, event in enumerate(events):
            nonce = entry.batch_id + b"%d.%d" % (position, index)
            try:
                rows.append(row_of(request, event, nonce))
            except UNREADABLE as error:
                sent = Request(request.account_id, request.received_us, msgspec.json.encode(event))
                customer = customer_of(request.account_id, normal_email(event.customer_email)).customer_id
                alone = encode_entry(Entry(nonce + b"/", [sent]))
                unreadable.append(Unreadable(request.account_id, customer, request.received_us, alone, error))
    return rows, unreadable


def row_of(request: Request, event: Event, nonce: bytes) -> Row:
    """One event's row. `nonce` is its identity where it brings none: neither an event_id nor a timestamp."""
    email = event.customer_email
    customer = customer_of(request.account_id, email if len(email) <= MAX_EMAIL else normal_email(email))
    properties = bytes(event.properties)
    content = (_content if len(properties) <= REMEMBERED_BYTES else read_content)(event.event, properties)
    occurred_us, key = request.received_us, content.key
    if event.timestamp is not None:
        occurred_us = microseconds(instant(event.timestamp))
    if event.event_id is not None:
        key = _key(b"id\0", event.event_id.encode())
    elif event.timestamp is None:
        key = _key(b"nonce\0", nonce)
    return Row(
        customer.customer_id, occurred_us, key, request.received_us, event.event_id is not None, customer, content
    )


class KnownCustomer(NamedTuple):
    """Who an address belongs to. `copied` is that for COPY: customer_id, account_id and email."""

    customer_id: str
    account_id: int
    email: str
    copied: str


@lru_cache(maxsize=100_000)
def customer_of(account_id: int, email: str) -> KnownCustomer:
    """The customer of an address as it was sent."""
    normal = normal_email(email)
    known = customer_id(account_id, normal), account_id, normal
    return KnownCustomer(*known, copied(*known))


class Content(NamedTuple):
    """What an event's name and properties say: its key where it has no event_id, what is stored, and what the rollup
    keeps of it. `copied` is that for COPY: event, properties, detail, value and plan."""

    key: int
    event: str
    properties: str | None
    detail: str
    value: float
    plan: str | None
    personal: tuple[str, ...]  # the paths of what looks like personal data
    copied: str


def read_content(event: str, properties: bytes) -> Content:
    """Understand an event's properties, given as JSON; b"" where there are none."""
    parsed = {} if properties in EMPTY else _decode_properties(properties)
    key = _key(b"content\0", event.encode() + b"\0" + (_encode_sorted(parsed) if parsed else b""))
    stored = _storable(properties, parsed), detail_of(event, parsed), value_of(event, parsed), plan_of(parsed)
    return Content(key, event, *stored, personal_data(properties, parsed), copied(event, *stored))


TOO_FINE = re.compile(rb"[eE](?<=\d.)(?:-\d{3}|\+?\d{4})|\.\d{15000}")
COPY_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))
EMPTY = (b"null", b"{}", b"")
REMEMBERED_BYTES = 256  # the same few properties come again and again; long ones seldom do
_content = lru_cache(maxsize=50_000)(read_content)


def _storable(properties: bytes, parsed: dict[str, Any]) -> str | None:
    """The properties as text for jsonb: as sent, so that no digit is lost; but numbers that Postgres may not take, with
    over 16383 decimals or an endless exponent, as JSON readers see them."""
    if not parsed:
        return None
    return (msgspec.json.encode(parsed) if TOO_FINE.search(properties) else properties).decode()


def copied(*values: str | float | None) -> str:
    """Values in the text format of COPY, with tabs between."""
    return "\t".join(r"\N" if value is None else _escaped(str(value)) for value in values)


def _escaped(text: str) -> str:
    for plain, escaped in COPY_ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _key(kind: bytes, identity: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(kind + identity, digest_size=8).digest(), "big", signed=True)
