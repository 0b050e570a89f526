"""How an event's bytes become a row of Postgres, ready for COPY."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from scoring.events import MAX_EMAIL, detail_of, plan_of, value_of
from workers.buffer.entries import (
    Entry,
    Event,
    Request,
    decode_entry,
    decode_events,
    encode_entry,
    hash_customer,
    normalise_email,
    parse_instant,
)
from workers.buffer.lint import find_personal_data

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Row(NamedTuple):
    """An event as it is stored; times in microseconds since 1970. The first three are its key in the table `events`."""

    customer_id: str
    occurred_us: int
    event_key: int
    received_us: int
    identified: bool  # by an event_id
    customer: "KnownCustomer"
    content: "Content"


class Unreadable(NamedTuple):
    """A part of an entry that can't be read, and why. `entry` holds it alone, so that it can be tried again."""

    account_id: int | None
    customer_id: str | None
    received_us: int | None
    entry: bytes
    error: Exception


_decode_properties = msgspec.json.Decoder(dict[str, Any]).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def microseconds(moment: datetime) -> int:
    """Returns microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def make_rows(entry: Entry) -> list[Row]:
    """Returns the rows of an entry, in order. Raises one of UNREADABLE if a part of it can't be read."""
    return [
        make_row(request, event, entry.batch_id + b"%d.%d" % (position, index))
        for position, request in enumerate(entry.requests)
        for index, event in enumerate(decode_events(request))
    ]


UNREADABLE = (ValueError, ArithmeticError, LookupError, TypeError)


def read_entry(entry: bytes) -> tuple[list[Row], list[Unreadable]]:
    """Returns the rows of an entry's bytes, and its unreadable parts: all of it, a request, or an event."""
    try:
        decoded = decode_entry(entry)
    except ValueError as error:
        return [], [Unreadable(None, None, None, entry, error)]
    try:
        return make_rows(decoded), []
    except UNREADABLE:
        return _read_parts(decoded)


def _read_parts(entry: Entry) -> tuple[list[Row], list[Unreadable]]:
    rows: list[Row] = []
    unreadable: list[Unreadable] = []
    for position, request in enumerate(entry.requests):
        try:
            events = decode_events(request)
        except UNREADABLE as error:
            alone = encode_entry(Entry(entry.batch_id + b"%d/" % position, [request]))
            unreadable.append(Unreadable(request.account_id, None, request.received_us, alone, error))
            continue
        for index, event in enumerate(events):
            nonce = entry.batch_id + b"%d.%d" % (position, index)
            try:
                rows.append(make_row(request, event, nonce))
            except UNREADABLE as error:
                single = Request(request.account_id, request.received_us, msgspec.json.encode(event))
                customer = find_customer(request.account_id, normalise_email(event.customer_email)).customer_id
                alone = encode_entry(Entry(nonce + b"/", [single]))
                unreadable.append(Unreadable(request.account_id, customer, request.received_us, alone, error))
    return rows, unreadable


def make_row(request: Request, event: Event, nonce: bytes) -> Row:
    """Returns an event's row. `nonce` identifies an event that has neither an event_id nor a timestamp."""
    email = event.customer_email
    customer = find_customer(request.account_id, email if len(email) <= MAX_EMAIL else normalise_email(email))
    properties = bytes(event.properties)
    content = (_content if len(properties) <= REMEMBERED_BYTES else read_content)(event.event, properties)
    occurred_us, key = request.received_us, content.key
    if event.timestamp is not None:
        occurred_us = microseconds(parse_instant(event.timestamp))
    if event.event_id is not None:
        key = _key(b"id\0", event.event_id.encode())
    elif event.timestamp is None:
        key = _key(b"nonce\0", nonce)
    return Row(
        customer.customer_id, occurred_us, key, request.received_us, event.event_id is not None, customer, content
    )


class KnownCustomer(NamedTuple):
    """The customer of an address. `copy` is its columns for COPY: customer_id, account_id and email."""

    customer_id: str
    account_id: int
    email: str
    copy: str


@lru_cache(maxsize=100_000)
def find_customer(account_id: int, email: str) -> KnownCustomer:
    """Returns the customer of an address as it was sent."""
    normal = normalise_email(email)
    columns = hash_customer(account_id, normal), account_id, normal
    return KnownCustomer(*columns, format_copy(*columns))


class Content(NamedTuple):
    """An event's name and properties: its key if it has no event_id, the stored text, and what the rollup keeps.
    `copy` is its columns for COPY: event, properties, detail, value and plan."""

    key: int
    event: str
    properties: str | None
    detail: str
    value: float
    plan: str | None
    personal: tuple[str, ...]  # the paths of what looks like personal data
    copy: str


def read_content(event: str, properties: bytes) -> Content:
    """Returns the content of an event. `properties` is JSON, or b"" for none. Raises one of UNREADABLE."""
    parsed = {} if properties in EMPTY else _decode_properties(properties)
    key = _key(b"content\0", event.encode() + b"\0" + (_encode_sorted(parsed) if parsed else b""))
    columns = _format_jsonb(properties, parsed), detail_of(event, parsed), value_of(event, parsed), plan_of(parsed)
    return Content(key, event, *columns, find_personal_data(properties, parsed), format_copy(event, *columns))


TOO_FINE = re.compile(rb"[eE](?<=\d.)(?:-\d{3}|\+?\d{4})|\.\d{15000}")
COPY_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))
EMPTY = (b"null", b"{}", b"")
REMEMBERED_BYTES = 256  # the same few properties come again and again; long ones seldom do
_content = lru_cache(maxsize=50_000)(read_content)


def _format_jsonb(properties: bytes, parsed: dict[str, Any]) -> str | None:
    """Returns the properties as text for jsonb, as sent, so that no digit is lost. Numbers that Postgres may refuse,
    with over 16383 decimals or an endless exponent, are written as JSON readers see them."""
    if not parsed:
        return None
    return (msgspec.json.encode(parsed) if TOO_FINE.search(properties) else properties).decode()


def format_copy(*values: str | float | None) -> str:
    """Returns values in the text format of COPY, with tabs between."""
    return "\t".join(r"\N" if value is None else _escape(str(value)) for value in values)


def _escape(text: str) -> str:
    for plain, escaped in COPY_ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _key(kind: bytes, identity: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(kind + identity, digest_size=8).digest(), "big", signed=True)
