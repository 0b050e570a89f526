"""A batch in Postgres: all of it in one transaction, or none of it.

As a rule that is one attempt. Where the database refuses an event, a second attempt halves the rows, each half under a
savepoint, until the one bad event is alone; it is buried among the dead letters, in the same transaction as the others
are stored. So what became of a batch is decided in one moment, and noted in that moment (see landed.py).
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from workers.buffer.lanes import Lane
from workers.buffer.rows import Row, Unreadable
from workers.buffer.staging import Incoming, incoming
from workers.buffer.stream import Became, Waiting
from workers.ingest import receipts
from workers.ingest.batches import Batch, Entry
from workers.retry import BAD_DATA
from workers.store import Connection, sql
from workers.upkeep import erasure, retention

log = logging.getLogger(__name__)

NOBODY = "0" * 32
UNDECODABLE = "undecodable"
REFUSALS = (*BAD_DATA, ValueError)


class Outcome(NamedTuple):
    """What became of rows, in events."""

    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    erased: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":  # type: ignore[override]
        return Outcome(*(a + b for a, b in zip(self, other, strict=True)))


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


def nothing() -> None:
    """What is done meanwhile, where there is nothing to do."""


def store_batch(
    connection: Connection, lane: Lane, batch: Batch, rescore_seconds: float, meanwhile: Callable[[], None] = nothing
) -> Mapping[bytes, Became]:
    """Store a batch. Returns what became of each entry's events, by the entry's id.

    `meanwhile` is done once while Postgres is at work. Raises psycopg.Error where Postgres is the trouble.
    """
    try:
        return _attempt(connection, lane, batch, lambda some: _store_all(connection, some, rescore_seconds, meanwhile))
    except REFUSALS as error:
        log.info("a batch is stored in parts: %s", type(error).__name__)
    return _attempt(connection, lane, batch, lambda some: _store_parts(connection, lane, some.rows, rescore_seconds))


def _attempt(
    connection: Connection, lane: Lane, batch: Batch, store: Callable[[Incoming], Counter[str]]
) -> Mapping[bytes, Became]:
    with connection.transaction():
        connection.execute(sql("create_incoming"))  # on its own it would be a commit more
        erasure.join_storing(connection)
        before = receipts.found(connection, lane, batch.waiting)
        fresh = batch.without(before)
        totals = store(fresh.incoming) + _bury_unreadable(connection, lane, fresh.entries)
        became = receipts.shared_out(fresh.waiting, totals)
        receipts.note(connection, lane, fresh.waiting, became)
    return {**before, **became}


def _store_all(
    connection: Connection, some: Incoming, rescore_seconds: float, meanwhile: Callable[[], None]
) -> Counter[str]:
    return _counted(store_rows(connection, some, rescore_seconds, meanwhile))


def _store_parts(connection: Connection, lane: Lane, rows: Sequence[Row], rescore_seconds: float) -> Counter[str]:
    """Store rows under a savepoint; where one is refused, halves, until it is alone, and is buried."""
    try:
        with connection.transaction():
            connection.execute(sql("empty_incoming"))
            return _counted(store_rows(connection, incoming(rows), rescore_seconds))
    except REFUSALS as error:
        if len(rows) == 1:
            letter = _refused(lane, rows[0], error)
            bury(connection, [letter])
            return Counter({f"dead:{letter.reason}": 1})
    half = len(rows) // 2
    return _store_parts(connection, lane, rows[:half], rescore_seconds) + _store_parts(
        connection, lane, rows[half:], rescore_seconds
    )


def store_rows(
    connection: Connection, some: Incoming, rescore_seconds: float, meanwhile: Callable[[], None] = nothing
) -> Outcome:
    """Within a transaction that has joined those who store: events, rollup, customers and when they are due. What is
    known, and what was received before its customer was erased, is left out. Raises one of REFUSALS for bad rows."""
    if not some.rows:
        return Outcome()
    kept = erasure.not_erased(connection, some)
    with connection.cursor() as cursor:
        with cursor.copy(sql("copy_incoming")) as copy:
            copy.write(kept.text)
        if kept.identified:
            cursor.execute(sql("claim_event_ids"))
            cursor.execute(sql("drop_seen_event_ids"))
        retention.drop_pruned(cursor, kept)
        with connection.pipeline():
            cursor.execute(sql("store_incoming"), {"rescore_seconds": rescore_seconds})
            meanwhile()
        counted = cursor.fetchone()
    assert counted
    events = len(kept.rows)
    return Outcome(stored=counted[0], duplicate=events - counted[0], erased=len(some.rows) - events)


def _counted(outcome: Outcome) -> Counter[str]:
    return Counter(stored=outcome.stored, duplicate=outcome.duplicate, erased=outcome.erased)


def bury(connection: Connection, dead: Sequence[DeadLetter]) -> None:
    """Within a transaction that has joined those who store: write dead letters. One that is there already stays as it
    is, one of an erased customer is not written."""
    with connection.cursor() as cursor:
        cursor.executemany(sql("bury"), [letter._asdict() for letter in dead])
    for letter in dead:
        told = {"dead_letter_id": letter.dead_letter_id, "account_id": letter.account_id}
        log.error("dead letter", extra={**told, "reason": letter.reason, "fingerprint": letter.fingerprint})


def _bury_unreadable(connection: Connection, lane: Lane, entries: Iterable[Entry]) -> Counter[str]:
    """Bury what can't be read; of an entry, that is as many events as are missing."""
    letters = [_undecodable(lane, entry.waiting, part) for entry in entries for part in entry.unreadable]
    if not letters:
        return Counter()
    bury(connection, letters)
    missing = sum(entry.waiting.events - len(entry.rows) for entry in entries if entry.unreadable)
    return Counter({f"dead:{UNDECODABLE}": missing})


def _undecodable(lane: Lane, waiting: Waiting, part: Unreadable) -> DeadLetter:
    return DeadLetter(
        customer_id=part.customer_id or NOBODY,
        dead_letter_id=_digest(waiting.id + part.entry),
        account_id=part.account_id,
        reason=UNDECODABLE,
        sqlstate=None,
        fingerprint=f"{UNDECODABLE}: {type(part.error).__name__}",
        received_us=part.received_us or int(waiting.id.split(b"-")[0]) * 1000,
        lane=lane.name,
        body=part.entry,
    )


def _refused(lane: Lane, row: Row, error: Exception) -> DeadLetter:
    sqlstate = getattr(error, "sqlstate", None)
    reason = type(error).__name__
    return DeadLetter(
        customer_id=row.customer_id,
        dead_letter_id=_digest(repr(row[:3]).encode()),
        account_id=row.customer.account_id,
        reason=reason,
        sqlstate=sqlstate,
        fingerprint=f"{reason}: {sqlstate}",
        received_us=row.received_us,
        lane=lane.name,
        body=json.dumps(as_letter(row)).encode(),
    )


def as_letter(row: Row) -> dict[str, object]:
    """A row as a dead letter keeps it; `from_letter` reads it."""
    return {
        "account_id": row.customer.account_id,
        "email": row.customer.email,
        "occurred_us": row.occurred_us,
        "event_key": row.event_key,
        "event": row.content.event,
        "properties": row.content.properties,
        "received_us": row.received_us,
        "identified": row.identified,
    }


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
