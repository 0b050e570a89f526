"""A batch in Postgres: all of it in one transaction, or none of it.

As a rule that is one attempt. Where the database refuses an event, a second attempt halves the rows, each half under a
savepoint, until the bad event is alone; it is buried among the dead letters, in the transaction that stores the others.
So what becomes of a batch is decided, and its receipts are saved, in one moment (see receipts.py).
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from workers.buffer.lanes import Lane
from workers.buffer.rows import Row, Unreadable
from workers.buffer.staging import StagedRows, stage
from workers.buffer.stream import EventCounts, StreamEntry
from workers.ingest import receipts
from workers.ingest.batches import Batch, DecodedEntry
from workers.store import Connection, one, sql
from workers.store.faults import BAD_DATA
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


def do_nothing() -> None:
    """Read nothing ahead."""


def store_batch(
    connection: Connection,
    lane: Lane,
    batch: Batch,
    rescore_seconds: float,
    read_ahead: Callable[[], None] = do_nothing,
) -> Mapping[bytes, EventCounts]:
    """Store a batch. Returns what became of each entry's events, by the entry's id.

    `read_ahead` is called once, while Postgres is at work. Raises psycopg.Error if Postgres is the trouble.
    """
    try:
        return _attempt(
            connection, lane, batch, lambda staged: _store_all(connection, staged, rescore_seconds, read_ahead)
        )
    except REFUSALS as error:
        log.info("a batch is stored in parts: %s", type(error).__name__)
    return _attempt(
        connection, lane, batch, lambda staged: _store_parts(connection, lane, staged.rows, rescore_seconds)
    )


def _attempt(
    connection: Connection, lane: Lane, batch: Batch, store: Callable[[StagedRows], Counter[str]]
) -> Mapping[bytes, EventCounts]:
    with connection.transaction():
        connection.execute(sql("create_incoming"))  # on its own it would be a commit more
        erasure.join_storing(connection)
        before = receipts.find_receipts(connection, lane, batch.sources)
        new = batch.without(before)
        totals = store(new.staged) + _bury_unreadable(connection, lane, new.entries)
        outcomes = receipts.share_out(new.sources, totals)
        receipts.save_receipts(connection, lane, new.sources, outcomes)
    return {**before, **outcomes}


def _store_all(
    connection: Connection, staged: StagedRows, rescore_seconds: float, read_ahead: Callable[[], None]
) -> Counter[str]:
    return _count_outcome(store_rows(connection, staged, rescore_seconds, read_ahead))


def _store_parts(connection: Connection, lane: Lane, rows: Sequence[Row], rescore_seconds: float) -> Counter[str]:
    """Store rows under a savepoint; where one is refused, halves, until it is alone, and is buried."""
    try:
        with connection.transaction():
            connection.execute(sql("empty_incoming"))
            return _count_outcome(store_rows(connection, stage(rows), rescore_seconds))
    except REFUSALS as error:
        if len(rows) == 1:
            letter = _make_refused_letter(lane, rows[0], error)
            bury(connection, [letter])
            return Counter({f"dead:{letter.reason}": 1})
    half = len(rows) // 2
    return _store_parts(connection, lane, rows[:half], rescore_seconds) + _store_parts(
        connection, lane, rows[half:], rescore_seconds
    )


def store_rows(
    connection: Connection, staged: StagedRows, rescore_seconds: float, read_ahead: Callable[[], None] = do_nothing
) -> Outcome:
    """Store events, rollup, customers and when they are due, without events that are stored already or were received
    before their customer was erased. The caller's transaction holds the shared erasure lock (`join_storing`). Raises
    one of REFUSALS for bad rows."""
    if not staged.rows:
        return Outcome()
    kept = erasure.not_erased(connection, staged)
    with connection.cursor() as cursor:
        with cursor.copy(sql("copy_incoming")) as copy:
            copy.write(kept.text)
        if kept.identified:
            cursor.execute(sql("claim_event_ids"))
            cursor.execute(sql("drop_seen_event_ids"))
        retention.drop_pruned(cursor, kept)
        with connection.pipeline():
            cursor.execute(sql("store_incoming"), {"rescore_seconds": rescore_seconds})
            read_ahead()
        (stored,) = one(cursor)
    events = len(kept.rows)
    return Outcome(stored=stored, duplicate=events - stored, erased=len(staged.rows) - events)


def _count_outcome(outcome: Outcome) -> Counter[str]:
    return Counter(stored=outcome.stored, duplicate=outcome.duplicate, erased=outcome.erased)


def bury(connection: Connection, dead: Sequence[DeadLetter]) -> None:
    """Write dead letters. One that is there already stays as it is; one of an erased customer is not written. The
    caller's transaction holds the shared erasure lock (`join_storing`)."""
    with connection.cursor() as cursor:
        cursor.executemany(sql("bury"), [letter._asdict() for letter in dead])
    for letter in dead:
        facts = {"dead_letter_id": letter.dead_letter_id, "account_id": letter.account_id}
        log.error("dead letter", extra={**facts, "reason": letter.reason, "fingerprint": letter.fingerprint})


def _bury_unreadable(connection: Connection, lane: Lane, entries: Iterable[DecodedEntry]) -> Counter[str]:
    """Bury the unreadable parts of entries. Returns how many events are missing for them."""
    letters = [_make_unreadable_letter(lane, entry.source, part) for entry in entries for part in entry.unreadable]
    if not letters:
        return Counter()
    bury(connection, letters)
    missing = sum(entry.source.events - len(entry.rows) for entry in entries if entry.unreadable)
    return Counter({f"dead:{UNDECODABLE}": missing})


def _make_unreadable_letter(lane: Lane, source: StreamEntry, part: Unreadable) -> DeadLetter:
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


def _make_refused_letter(lane: Lane, row: Row, error: Exception) -> DeadLetter:
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
        body=json.dumps(encode_row(row)).encode(),
    )


def encode_row(row: Row) -> dict[str, object]:
    """Returns a row as a dead letter keeps it; `dead_letters.read_rows` reads it."""
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
