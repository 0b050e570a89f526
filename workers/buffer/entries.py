"""The format of an entry of the buffer, and of the events in it.

An entry holds requests as they were sent: each with its account, its time of receipt and its body, which the door has
checked. The door gives it a batch id, which makes events without an identity of their own unique, so that an entry that
is delivered twice is stored once.
"""

import hashlib
import zlib
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

from workers.buffer.addresses import normalise_email as normalise_email

COMPRESSED = b"\xc1"  # how a compressed entry begins; no MessagePack does
SIZE_BYTES = 4  # of the size that follows; then comes the batch id
COMPRESSED_FROM = 1_000  # bytes; of fewer too little is left to gain
BEGINNING = 17  # bytes that tell an entry from all others: a frame and the batch id


class Request(Struct, array_like=True, frozen=True):
    """An accepted request: the raw JSON of an event, or of `{"events": […]}`."""

    account_id: int
    received_us: int
    body: bytes


class Entry(Struct, array_like=True, frozen=True):
    """Requests that are written to the buffer together."""

    batch_id: bytes
    requests: list[Request]


class SentEvent(Struct):
    """An event as it was sent, with an address or a user id. Other fields were counted at the door and are left out."""

    event: str
    customer_email: str | None = None
    user_id: str | None = None
    properties: Raw = Raw(b"null")
    timestamp: str | None = None
    event_id: str | None = None


class Identity(Struct):
    """A statement about a person: an address for a user id, traits, or both. `trusted`: by a secret key."""

    user_id: str | None = None
    customer_email: str | None = None
    traits: Raw = Raw(b"null")
    timestamp: str | None = None
    trusted: bool = True


class Body(Struct):
    """The body of a request: one event, or `events`, `identities` or both."""

    events: list[SentEvent] | None = None
    identities: list[Identity] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode
_decode_event = msgspec.json.Decoder(SentEvent).decode
_decode_body = msgspec.json.Decoder(Body).decode


def encode_entry(entry: Entry) -> bytes:
    """Returns an entry's bytes, compressed if there are many: events are much alike."""
    data = _encode(entry)
    if len(data) < COMPRESSED_FROM:
        return data
    return COMPRESSED + len(data).to_bytes(SIZE_BYTES, "big") + _mark(entry) + zlib.compress(data, level=1)


def decode_entry(data: bytes) -> Entry:
    """Returns the entry of these bytes. Raises ValueError if they can't be read."""
    if data[:1] != COMPRESSED:
        return _decode(data)
    try:
        unpacked = zlib.decompressobj().decompress(data[BEGINNING:], measure_entry(data) + 1)
    except zlib.error as error:
        raise ValueError(f"the entry can't be decompressed: {error}") from None
    if len(unpacked) != measure_entry(data):
        raise ValueError("the entry isn't as long as it says")
    return _decode(unpacked)


def measure_entry(data: bytes) -> int:
    """Returns how many bytes an entry has when it isn't compressed. READ in stream.py does the same."""
    return int.from_bytes(data[1 : 1 + SIZE_BYTES], "big") if data[:1] == COMPRESSED else len(data)


def _mark(entry: Entry) -> bytes:
    """Returns the batch id, or the beginning of it, so that compressed entries begin with it as well."""
    return entry.batch_id[: BEGINNING - 1 - SIZE_BYTES].ljust(BEGINNING - 1 - SIZE_BYTES, b"\0")


def parse_instant(timestamp: str) -> datetime:
    """Returns the instant that a text in ISO 8601 names; without an offset it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(timestamp.upper())  # RFC 3339 allows t and z
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def hash_customer(account_id: int, email: str) -> str:
    """Returns the customer's id, 32 hexadecimal digits. It is a hash, so it needs no look-up. `email` is normalised."""
    return hashlib.blake2b(f"{account_id}\0{email}".encode(), digest_size=16).hexdigest()


def hash_user(account_id: int, user_id: str) -> str:
    """Returns the id under which events of a user id stand until its address is known; no address has the same."""
    return hashlib.blake2b(f"{account_id}\0user\0{user_id}".encode(), digest_size=16).hexdigest()


def decode_events(request: Request) -> list[SentEvent]:
    """Returns the events of a request. Raises ValueError if the body can't be read."""
    return decode_request(request)[0]


def decode_request(request: Request) -> tuple[list[SentEvent], list[Identity]]:
    """Returns the events and the identities of a request. Raises ValueError if the body can't be read."""
    try:
        if b'"events"' in request.body or b'"identities"' in request.body:
            body = _decode_body(request.body)
            if body.events is not None or body.identities is not None:
                return body.events or [], body.identities or []
        return [_decode_event(request.body)], []
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
