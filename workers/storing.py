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
from operator import attrgetter
from typing import NamedTuple

import psycopg

from workers import erasure, landed, retention
from workers.batches import Batch, Entry
from workers.buffer import Became, Waiting
from workers.lanes import Lane
from workers.store import Connection, sql
from workers.wire import Row, Unreadable

log = logging.getLogger(__name__)

NOBODY = "0" * 32
UNDECODABLE = "undecodable"
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, ValueError)


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
        return _attempt(connection, lane, batch, lambda rows: _store_all(connection, rows, rescore_seconds, meanwhile))
    except REFUSALS as error:
        log.info("a batch is stored in parts: %s", type(error).__name__)
    return _attempt(connection, lane, batch, lambda rows: _store_parts(connection, lane, rows, rescore_seconds))


def _attempt(
    connection: Connection, lane: Lane, batch: Batch, store: Callable[[Sequence[Row]], Counter[str]]
) -> Mapping[bytes, Became]:
    connection.execute(sql("create_incoming"))
    with connection.transaction():
        erasure.join_storing(connection)
        before = landed.found(connection, lane, batch.waiting)
        entries = [entry for entry in batch.entries if entry.waiting.id not in before] if before else batch.entries
        waiting = [entry.waiting for entry in entries]
        totals = store([row for entry in entries for row in entry.rows])
        totals += _bury_unreadable(connection, lane, entries)
        became = landed.shared_out(waiting, totals)
        landed.note(connection, lane, waiting, became)
    return {**before, **became}


def _store_all(
    connection: Connection, rows: Sequence[Row], rescore_seconds: float, meanwhile: Callable[[], None]
) -> Counter[str]:
    return _counted(store_rows(connection, rows, rescore_seconds, meanwhile))


def _store_parts(connection: Connection, lane: Lane, rows: Sequence[Row], rescore_seconds: float) -> Counter[str]:
    """Store rows under a savepoint; where one is refused, halves, until it is alone, and is buried."""
    try:
        with connection.transaction():
            connection.execute(sql("empty_incoming"))
            return _counted(store_rows(connection, rows, rescore_seconds))
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
    connection: Connection, rows: Sequence[Row], rescore_seconds: float, meanwhile: Callable[[], None] = nothing
) -> Outcome:
    """Within a transaction that has joined those who store: events, rollup, customers and when they are due. What is
    known, and what was received before its customer was erased, is left out. Raises one of REFUSALS for bad rows."""
    if not rows:
        return Outcome()
    kept = erasure.not_erased(connection, rows)
    distinct = {row[:3]: row for row in reversed(kept)}.values()
    with connection.cursor() as cursor:
        with cursor.copy(sql("copy_incoming")) as copy:
            copy.write("".join(map(_copied, distinct)))
        if any(map(attrgetter("identified"), distinct)):
            cursor.execute(sql("claim_event_ids"))
            cursor.execute(sql("drop_seen_event_ids"))
        retention.drop_pruned(cursor, distinct)
        with connection.pipeline():
            cursor.execute(sql("store_incoming"), {"rescore_seconds": rescore_seconds})
            meanwhile()
        counted = cursor.fetchone()
    assert counted
    return Outcome(stored=counted[0], duplicate=len(kept) - counted[0], erased=len(rows) - len(kept))


def _copied(row: Row) -> str:
    """A row of the table `incoming`, in the text format of COPY."""
    _, occurred_us, key, received_us, identified, customer, content = row
    return f"{customer.copied}\t{content.copied}\t{occurred_us}\t{key}\t{received_us}\t{identified}\n"


def _counted(outcome: Outcome) -> Counter[str]:
    return Counter(stored=outcome.stored, duplicate=outcome.duplicate, erased=outcome.erased)


def bury(connection: Connection, dead: Sequence[DeadLetter]) -> None:
    """Within a transaction that has joined those who store: write dead letters. One that is there already stays as it
    is, one of an erased customer is not written."""
    with connection.cursor() as cursor:
        cursor.executemany(sql("bury"), [letter._asdict() for letter in dead])
    for letter in dead:
        log.error("dead letter", extra={"reason": letter.reason, "fingerprint": letter.fingerprint})


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
