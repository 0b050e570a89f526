"""From the buffer into Postgres: read a batch, store it in one transaction, settle it."""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import psycopg

from workers import counters, erasure, retention, tickets, volume
from workers.buffer import Reader, Waiting
from workers.lanes import LIVE, Lane
from workers.outage import through_outages
from workers.process import Process
from workers.store import Connection, sql
from workers.wire import Row, decode_entry, rows_of

log = logging.getLogger(__name__)

BUDGET_SECONDS = 5.0  # how long a ticket drains before it makes room for the next
LINGER_SECONDS = 1.0  # how long it waits for more, so that a trickle of events doesn't cost a job each
NOBODY = "0" * 32
UNDECODABLE = "undecodable"


class Outcome(NamedTuple):
    """What became of a batch, in events."""

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


def drain(process: Process, lane: Lane) -> Outcome:
    """Empty a lane's buffer into Postgres until it is empty or the budget is spent."""
    tickets.taken(process.redis, lane.queue)
    reader = Reader(process.redis, lane, process.name)
    until = time.monotonic() + BUDGET_SECONDS
    total = Outcome()
    for batch in _batches(process, reader):
        began = time.monotonic()
        became = through_outages(process, partial(_store_batch, process, lane, batch))
        if became is None:
            break
        outcome, dead = became
        reader.settle(batch, outcome.stored, dead, outcome.erased)
        _count(process, batch, time.monotonic() - began)
        _hand_on(process, lane, batch, outcome)
        total += outcome
        if process.stopping.is_set() or time.monotonic() > until:
            break
    else:
        return total
    tickets.ask(process.redis, lane.queue)  # there may be more: the next ticket goes on
    return total


def _batches(process: Process, reader: Reader) -> Iterator[list[Waiting]]:
    """What was left over, then what is fresh; ends when nothing came for a while."""
    while batch := reader.left_over(process.settings.claim_seconds):
        yield batch
    while batch := reader.read(process.settings.batch_events, LINGER_SECONDS):
        yield batch


def _count(process: Process, batch: Sequence[Waiting], seconds: float) -> None:
    counters.observe("ingest_batch_events", sum(waiting.events for waiting in batch))
    counters.observe("ingest_seconds", seconds)
    counters.flush_sync(process.redis)


def _hand_on(process: Process, lane: Lane, batch: Sequence[Waiting], outcome: Outcome) -> None:
    log.info("ingested", extra={"lane": lane.name, "entries": len(batch), **outcome._asdict()})
    if sum(waiting.events for waiting in batch) >= process.settings.batch_events // 2:
        tickets.ask(process.redis, lane.queue)  # a full batch: more hands are welcome
    if outcome.stored:
        tickets.ask(process.redis, "score")


def _store_batch(process: Process, lane: Lane, batch: Iterable[Waiting]) -> tuple[Outcome, Counter[str]]:
    """What became of a batch, and its dead events by reason."""
    rows: list[Row] = []
    unreadable: list[tuple[Waiting, ValueError]] = []
    volumes = volume.Volumes()
    for waiting in batch:
        try:
            found = rows_of(decode_entry(waiting.entry))
        except ValueError as error:
            unreadable.append((waiting, error))
        else:
            rows += found
            volumes.update(volume.volumes_of(waiting.id, found))
    _look_over(process, rows)
    connection = process.connection()
    if unreadable:
        bury(connection, [_undecodable(lane, waiting, error) for waiting, error in unreadable])
    dead = Counter({UNDECODABLE: sum(waiting.events for waiting, _ in unreadable)})
    outcome = _store(connection, lane, rows, process.settings.rescore_seconds, dead)
    if lane == LIVE:
        volume.add(process.redis, volumes)
    return outcome + Outcome(dead=dead[UNDECODABLE]), dead


def _look_over(process: Process, rows: Sequence[Row]) -> None:
    """Warn of what is valid and looks wrong."""
    process.names.look(process.redis, [(row.account_id, row.event) for row in rows], process.warnings)
    for account_id, event, path in {(row.account_id, row.event, path) for row in rows for path in row.personal}:
        message = f"`{path}` looks like personal data; send nothing of that kind but the customer's e-mail."
        process.warnings.add(account_id, "personal_data", path, message, event)
    process.warnings.flush_sync(process.redis)


def _store(
    connection: Connection, lane: Lane, rows: Sequence[Row], rescore_seconds: float, dead: Counter[str]
) -> Outcome:
    """Store rows; what the database refuses is halved until the one bad row is alone, buried, and counted in `dead`."""
    if not rows:
        return Outcome()
    try:
        return store_rows(connection, rows, rescore_seconds)
    except (psycopg.DataError, psycopg.IntegrityError, ValueError) as error:
        if len(rows) == 1:
            letter = _refused(lane, rows[0], error)
            bury(connection, [letter])
            dead[letter.reason] += 1
            return Outcome(dead=1)
    half = len(rows) // 2
    return _store(connection, lane, rows[:half], rescore_seconds, dead) + _store(
        connection, lane, rows[half:], rescore_seconds, dead
    )


def store_rows(connection: Connection, rows: Sequence[Row], rescore_seconds: float) -> Outcome:
    """Store rows in one transaction: events, rollup, customers and when they are due. What is known, and what was
    received before its customer was erased, is left out."""
    if not rows:
        return Outcome()
    connection.execute(sql("create_incoming"))
    with connection.transaction(), connection.cursor() as cursor:
        erasure.join_storing(connection)
        kept = erasure.not_erased(connection, rows)
        distinct = {row[:3]: row for row in reversed(kept)}.values()
        with cursor.copy(sql("copy_incoming")) as copy:
            for row in distinct:
                copy.write_row(row[:-1])
        if any(row.identified for row in distinct):
            cursor.execute(sql("claim_event_ids"))
            cursor.execute(sql("drop_seen_event_ids"))
        retention.drop_pruned(cursor, distinct)
        cursor.execute(sql("store_incoming"), {"rescore_seconds": rescore_seconds})
        counted = cursor.fetchone()
    assert counted
    return Outcome(stored=counted[0], duplicate=len(kept) - counted[0], erased=len(rows) - len(kept))


def bury(connection: Connection, dead: Sequence[DeadLetter]) -> None:
    """Write dead letters; one that is there already stays as it is, one of an erased customer is not written."""
    with connection.transaction(), connection.cursor() as cursor:
        erasure.join_storing(connection)
        cursor.executemany(sql("bury"), [letter._asdict() for letter in dead])
    for letter in dead:
        log.error("dead letter", extra={"reason": letter.reason, "fingerprint": letter.fingerprint})


def _undecodable(lane: Lane, waiting: Waiting, error: ValueError) -> DeadLetter:
    return DeadLetter(
        customer_id=NOBODY,
        dead_letter_id=_digest(waiting.id),
        account_id=None,
        reason=UNDECODABLE,
        sqlstate=None,
        fingerprint=f"{UNDECODABLE}: {type(error).__name__}",
        received_us=int(waiting.id.split(b"-")[0]) * 1000,
        lane=lane.name,
        body=waiting.entry,
    )


def _refused(lane: Lane, row: Row, error: Exception) -> DeadLetter:
    sqlstate = getattr(error, "sqlstate", None)
    reason = type(error).__name__
    return DeadLetter(
        customer_id=row.customer_id,
        dead_letter_id=_digest(repr(row[:3]).encode()),
        account_id=row.account_id,
        reason=reason,
        sqlstate=sqlstate,
        fingerprint=f"{reason}: {sqlstate}",
        received_us=row.received_us,
        lane=lane.name,
        body=json.dumps(row._asdict()).encode(),
    )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
