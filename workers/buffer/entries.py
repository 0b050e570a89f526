"""The format of an entry of the buffer, and of the events in it.

An entry holds requests as they were sent: each with its account, its time of receipt and its body, which the door has
checked. The door gives it a batch id, which makes events without an identity of their own unique, so that an entry that
is delivered twice is stored once.
"""

import hashlib
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

from workers.buffer.addresses import normalise_email as normalise_email


class Request(Struct, array_like=True, frozen=True):
    """An accepted request: the raw JSON of an event, or of `{"events": […]}`."""

    account_id: int
    received_us: int
    body: bytes


class Entry(Struct, array_like=True, frozen=True):
    """Requests that are written to the buffer together."""

    batch_id: bytes
    requests: list[Request]


class Event(Struct):
    """An event as it was sent, with an address or a user id. Other fields were counted at the door and are left out."""

    event: str
    customer_email: str | None = None
    user_id: str | None = None
    properties: Raw = Raw(b"null")
    timestamp: str | None = None
    event_id: str | None = None


class Identity(Struct):
    """What was said of a person: an address for a user id, traits, or both. `trusted`: by a secret key."""

    user_id: str | None = None
    customer_email: str | None = None
    traits: Raw = Raw(b"null")
    timestamp: str | None = None
    trusted: bool = True


class Body(Struct):
    """The body of a request: one event, or `events`, `identities` or both."""

    events: list[Event] | None = None
    identities: list[Identity] | None = None


encode_entry = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_body = msgspec.json.Decoder(Body).decode


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


def decode_events(request: Request) -> list[Event]:
    """Returns the events of a request. Raises ValueError if the body can't be read."""
    return decode_request(request)[0]


def decode_request(request: Request) -> tuple[list[Event], list[Identity]]:
    """Returns the events and the identities of a request. Raises ValueError if the body can't be read."""
    try:
        if b'"events"' in request.body or b'"identities"' in request.body:
            body = _decode_body(request.body)
            if body.events is not None or body.identities is not None:
                return body.events or [], body.identities or []
        return [_decode_event(request.body)], []
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
