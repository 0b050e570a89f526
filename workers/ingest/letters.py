"""Dead letters as they are written: an event that could not be stored, and the reason."""

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from workers.buffer.entries import Entry, Identity, Request, encode_entry
from workers.buffer.lanes import Lane
from workers.buffer.rows import Identification, Row, Unreadable
from workers.buffer.stream import StreamEntry
from workers.store import Connection, sql

log = logging.getLogger(__name__)

NOBODY = "0" * 32
UNDECODABLE = "undecodable"


class DeadLetter(NamedTuple):
    """Something that can't be stored, and why. A row of dead_letters."""

    customer_id: str
    dead_letter_id: str
    account_id: int | None
    reason: str
    sqlstate: str | None
    fingerprint: str
    received_us: int
    lane: str
    body: bytes


def bury(connection: Connection, dead: Sequence[DeadLetter]) -> None:
    """Write dead letters. One that is there already stays as it is; one of an erased customer is not written. The
    caller's transaction holds the shared erasure lock (`join_storing`)."""
    with connection.cursor() as cursor:
        cursor.executemany(sql("bury"), [letter._asdict() for letter in dead])
    for letter in dead:
        facts = {"dead_letter_id": letter.dead_letter_id, "account_id": letter.account_id}
        log.error("dead letter", extra={**facts, "reason": letter.reason, "fingerprint": letter.fingerprint})


def make_unreadable_letter(lane: Lane, source: StreamEntry, part: Unreadable) -> DeadLetter:
    return DeadLetter(
        customer_id=part.customer_id or NOBODY,
        dead_letter_id=_digest(source.id + part.entry),
        account_id=part.account_id,
        reason=UNDECODABLE,
        sqlstate=None,
        fingerprint=f"{UNDECODABLE}: {type(part.error).__name__}",
        received_us=part.received_us or int(source.id.split(b"-")[0]) * 1000,
        lane=lane.name,
        body=part.entry,
    )


def make_refused_letter(lane: Lane, row: Row, error: Exception) -> DeadLetter:
    sqlstate = getattr(error, "sqlstate", None)
    reason = type(error).__name__.rstrip("_")
    return DeadLetter(
        customer_id=row.customer_id,
        dead_letter_id=_digest(repr(row[:3]).encode()),
        account_id=row.customer.account_id,
        reason=reason,
        sqlstate=sqlstate,
        fingerprint=f"{reason}: {sqlstate}",
        received_us=row.received_us,
        lane=lane.name,
        body=json.dumps(encode_row(row)).encode(),
    )


def make_identity_letter(lane: Lane, identity: Identification, error: Exception) -> DeadLetter:
    reason = type(error).__name__
    sent = Identity(identity.user_id, identity.email, Raw(msgspec.json.encode(identity.traits)))
    body = msgspec.json.encode({"identities": [sent]})
    data = encode_entry(Entry(b"", [Request(identity.account_id, identity.received_us, body)]))
    return DeadLetter(
        customer_id=identity.subject,
        dead_letter_id=_digest(data),
        account_id=identity.account_id,
        reason=UNDECODABLE,
        sqlstate=getattr(error, "sqlstate", None),
        fingerprint=f"identity: {reason}",
        received_us=identity.received_us,
        lane=lane.name,
        body=data,
    )


def encode_row(row: Row) -> dict[str, object]:
    """Returns a row as a dead letter keeps it; `dead_letters.read_rows` reads it."""
    return {
        "account_id": row.customer.account_id,
        "email": row.customer.email,
        "user_id": row.customer.user_id,
        "occurred_us": row.occurred_us,
        "event_key": row.event_key,
        "event": row.content.event,
        "properties": row.content.properties,
        "received_us": row.received_us,
        "identified": row.identified,
    }


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
