"""Turns an event's bytes into a row of Postgres."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec

from scoring.events import MAX_EMAIL, detail_of, plan_of, value_of
from workers.buffer.entries import (
    Entry,
    Identity,
    Request,
    SentEvent,
    decode_entry,
    decode_events,
    decode_request,
    encode_entry,
    hash_customer,
    hash_user,
    normalise_email,
    parse_instant,
)
from workers.buffer.fields import pack_jsonb, pack_text, pack_uuid
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
    position: int = 0  # of its entry in the buffer, see stream.position_of; 0: it doesn't come from there


class Identification(NamedTuple):
    """A statement about a person at a time (microseconds since 1970): an address, traits, or both."""

    account_id: int
    user_id: str | None
    email: str | None  # normalised
    traits: dict[str, Any]
    stated_us: int
    received_us: int
    trusted: bool
    position: int = 0  # as of a row

    @property
    def subject(self) -> str:
        """The id of the user id that was named, else of the address."""
        if self.user_id is not None:
            return hash_user(self.account_id, self.user_id)
        return hash_customer(self.account_id, self.email or "")


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
        make_row(request, event, entry.batch_id + b"%d" % position, index)
        for position, request in enumerate(entry.requests)
        for index, event in enumerate(decode_events(request))
    ]


UNREADABLE = (ValueError, ArithmeticError, LookupError, TypeError)


class StoredRow(msgspec.Struct, array_like=True, frozen=True):
    """An event as one cell forwards it to another: with its key, which may come from an event_id."""

    email: str
    event: str
    properties: str | None
    occurred_us: int
    event_key: int
    received_us: int
    identified: bool
    user_id: str | None = None  # in place of the address

    @classmethod
    def of(cls, row: Row) -> "StoredRow":
        """Returns a row as it is forwarded."""
        content = row.content
        key = row.occurred_us, row.event_key, row.received_us, row.identified
        return cls(row.customer.email, content.event, content.properties, *key, row.customer.user_id)

    def make_row(self, account_id: int) -> Row:
        """Returns the row again. It has no place in this buffer: an erasure covers it by its time of receipt."""
        customer = find_user(account_id, self.user_id) if self.user_id else find_customer(account_id, self.email)
        content = read_content(self.event, (self.properties or "").encode())
        key = self.occurred_us, self.event_key, self.received_us, self.identified
        return Row(customer.customer_id, *key, customer, content)


class _Forwarded(msgspec.Struct):
    """The body of a request with forwarded events; no door lets such a body in."""

    events: list[Any]
    stored: list[StoredRow] = []


def encode_forwarded(rows: list[StoredRow]) -> bytes:
    """Returns the body of a request with forwarded events."""
    return msgspec.json.encode(_Forwarded([], rows))


_decode_forwarded = msgspec.json.Decoder(_Forwarded).decode


class ReadEntry(NamedTuple):
    """The content of an entry: rows of events, identities, and parts that can't be read."""

    rows: list[Row]
    unreadable: list[Unreadable]
    identities: list[Identification]


def read_entry(data: bytes, position: int = 0) -> ReadEntry:
    """Returns what an entry's bytes hold. All of it may be unreadable, or a request, an event, an identity.
    `position` is its place in the buffer."""
    read = ReadEntry([], [], [])
    try:
        entry = decode_entry(data)
    except ValueError as error:
        read.unreadable.append(Unreadable(None, None, None, data, error))
        return read
    for number, request in enumerate(entry.requests):
        try:
            events, identities = decode_request(request)
        except UNREADABLE as error:
            alone = encode_entry(Entry(entry.batch_id + b"%d/" % number, [request]))
            read.unreadable.append(Unreadable(request.account_id, None, request.received_us, alone, error))
            continue
        if events or identities:
            _read_request(read, request, events, identities, entry.batch_id + b"%d" % number, position)
        else:
            read.rows.extend(row.make_row(request.account_id) for row in _decode_forwarded(request.body).stored)
    return read


def _read_request(
    read: ReadEntry, request: Request, events: list[SentEvent], identities: list[Identity], nonce: bytes, position: int
) -> None:
    for index, event in enumerate(events):
        try:
            read.rows.append(make_row(request, event, nonce, index, position))
        except UNREADABLE as error:
            read.unreadable.append(_make_unreadable(request, event, nonce + b".%d" % index, error))
    for identity in identities:
        try:
            read.identities.append(make_identification(request, identity, position))
        except UNREADABLE as error:
            single = Request(request.account_id, request.received_us, msgspec.json.encode({"identities": [identity]}))
            alone = encode_entry(Entry(nonce + b"/", [single]))
            read.unreadable.append(Unreadable(request.account_id, None, request.received_us, alone, error))


def _make_unreadable(request: Request, event: SentEvent, nonce: bytes, error: Exception) -> Unreadable:
    single = Request(request.account_id, request.received_us, msgspec.json.encode(event))
    alone = encode_entry(Entry(nonce + b"/", [single]))
    nobody = event.customer_email is None and event.user_id is None
    customer_id = None if nobody else _find_customer_of(request.account_id, event).customer_id
    return Unreadable(request.account_id, customer_id, request.received_us, alone, error)


def make_row(request: Request, event: SentEvent, nonce: bytes, index: int, position: int = 0) -> Row:
    """Returns an event's row. `nonce` and `index` identify an event that has neither an event_id nor a timestamp."""
    account_id, email, properties = request.account_id, event.customer_email, bytes(event.properties)
    if email is not None and len(email) <= MAX_EMAIL:
        customer = find_customer(account_id, email)
    else:
        customer = _find_customer_of(account_id, event)
    content = (_content if len(properties) <= REMEMBERED_BYTES else read_content)(event.event, properties)
    occurred_us, key, identified = request.received_us, content.key, False
    if event.timestamp is not None:
        occurred_us = microseconds(parse_instant(event.timestamp))
    if event.event_id is not None:
        key, identified = _key(b"id\0", event.event_id.encode()), True
    elif event.timestamp is None:
        key = _key(b"nonce\0", nonce + b".%d" % index)
    return _new_row((customer[0], occurred_us, key, request.received_us, identified, customer, content, position))


_new_row = partial(tuple.__new__, Row)  # the Row's own constructor is a Python function that does this


def _find_customer_of(account_id: int, event: SentEvent) -> "KnownCustomer":
    return find_customer_of(account_id, event.customer_email, event.user_id)


def find_customer_of(account_id: int, email: str | None, user_id: str | None) -> "KnownCustomer":
    """Returns the customer of an event with an address, a user id, or both: then the address holds."""
    if email is None:
        if user_id is None:
            raise ValueError("the event has neither an address nor a user id")
        return find_user(account_id, user_id)
    return find_customer(account_id, email if len(email) <= MAX_EMAIL else normalise_email(email))


def make_identification(request: Request, identity: Identity, position: int = 0) -> Identification:
    """Returns what a request says of a person. Raises one of UNREADABLE."""
    traits = bytes(identity.traits)
    stated_us = identity.timestamp and microseconds(parse_instant(identity.timestamp))
    return Identification(
        request.account_id,
        identity.user_id,
        None if identity.customer_email is None else normalise_email(identity.customer_email),
        {} if traits in EMPTY else _decode_properties(traits),
        min(stated_us or request.received_us, request.received_us),
        request.received_us,
        identity.trusted,
        position,
    )


class KnownCustomer(NamedTuple):
    """The customer of an address. The fields are the customer_id and the address as Postgres takes them."""

    customer_id: str
    account_id: int
    email: str
    id_field: bytes
    email_field: bytes
    user_id: str | None = None  # of a person whose address isn't known yet; then `email` is empty


@lru_cache(maxsize=100_000)
def find_user(account_id: int, user_id: str) -> KnownCustomer:
    """Returns a user id as the customer that it stands for until its address is known."""
    customer_id = hash_user(account_id, user_id)
    return KnownCustomer(customer_id, account_id, "", pack_uuid(customer_id), pack_text(""), user_id)


@lru_cache(maxsize=100_000)
def find_customer(account_id: int, email: str) -> KnownCustomer:
    """Returns the customer of an address as it was sent."""
    normal = normalise_email(email)
    customer_id = hash_customer(account_id, normal)
    return KnownCustomer(customer_id, account_id, normal, pack_uuid(customer_id), pack_text(normal))


class Content(NamedTuple):
    """An event's name and properties: its key if it has no event_id, the stored text, and what the rollup keeps.
    The fields are as Postgres takes them."""

    key: int
    event: str
    properties: str | None
    detail: str
    value: float
    plan: str | None
    personal: tuple[str, ...]  # the paths of what looks like personal data
    traits: dict[str, Any]  # traits of the customer, besides the properties of the event
    event_field: bytes
    properties_field: bytes
    detail_field: bytes
    plan_field: bytes


def read_content(event: str, properties: bytes) -> Content:
    """Returns the content of an event. `properties` is JSON, or b"" for none. Raises one of UNREADABLE."""
    parsed = {} if properties in EMPTY else _decode_properties(properties)
    key = _key(b"content\0", event.encode() + b"\0" + (_encode_sorted(parsed) if parsed else b""))
    text, detail, plan = _format_jsonb(properties, parsed), detail_of(event, parsed), plan_of(parsed)
    traits = {name: parsed[name] for name in TRAITS if parsed.get(name) is not None} or NO_TRAITS
    return Content(
        key,
        event,
        text,
        detail,
        value_of(event, parsed),
        plan,
        find_personal_data(properties, parsed),
        traits,
        pack_text(event),
        pack_jsonb(text),
        pack_text(detail),
        pack_text(plan),
    )


TRAITS = ("mrr", "currency", "company")  # properties that are traits of the customer as well; plans are in the rollup
NO_TRAITS: dict[str, Any] = {}
TOO_FINE = re.compile(rb"[eE](?<=\d.)(?:-\d{3}|\+?\d{4})|\.\d{15000}")
EMPTY = (b"null", b"{}", b"")
REMEMBERED_BYTES = 256  # the same few properties come again and again; long ones seldom do
_content = lru_cache(maxsize=50_000)(read_content)


def _format_jsonb(properties: bytes, parsed: dict[str, Any]) -> str | None:
    """Returns the properties as text for jsonb, as sent, so that no digit is lost. Numbers that Postgres may refuse,
    with over 16383 decimals or an endless exponent, are written as JSON readers see them."""
    if not parsed:
        return None
    return (msgspec.json.encode(parsed) if TOO_FINE.search(properties) else properties).decode()


def _key(kind: bytes, identity: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(kind + identity, digest_size=8).digest(), "big", signed=True)
