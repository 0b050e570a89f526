"""A batch in Postgres: all of it in one transaction, or none of it.

As a rule that is one attempt. Where the database refuses an event, a second attempt halves the rows, each half under a
savepoint, until the bad event is alone; it is buried among the dead letters, in the transaction that stores the others.
Where Postgres doesn't say whose fault it is, an event is only buried if one of ours can be stored in its place.
So what becomes of a batch is decided, and its receipts are saved, in one moment (see receipts.py).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import psycopg

from workers.buffer.columns import make_columns
from workers.buffer.fold import fold
from workers.buffer.lanes import Lane
from workers.buffer.rows import Identification, Row, find_customer, read_content
from workers.buffer.staging import StagedRows, stage
from workers.buffer.stream import EventCounts
from workers.buffer.table import tabulate
from workers.identities import forwarding, identify, profiles, resolution
from workers.identities.resolution import Resolved
from workers.ingest import bounds, insertion, receipts
from workers.ingest.batches import DecodedEntry, IngestBatch
from workers.ingest.insertion import MetBefore
from workers.ingest.letters import (
    UNDECODABLE,
    bury,
    make_identity_letter,
    make_refused_letter,
    make_unreadable_letter,
)
from workers.logs import first_line
from workers.store import Connection, only_row, sql
from workers.store.faults import BAD_DATA, UNCLEAR, ServerFault
from workers.upkeep import erasure, retention

log = logging.getLogger(__name__)

REFUSALS = (*BAD_DATA, UNCLEAR, ValueError)
NOBODYS_ACCOUNT = 0


class Outcome(NamedTuple):
    """The outcome of storing rows, in events."""

    stored: int = 0
    duplicate: int = 0
    dead: int = 0
    erased: int = 0
    unresolved: int = 0  # of a user id whose address isn't known yet
    moved: int = 0  # to the cell of their customer

    def __add__(self, other: "Outcome") -> "Outcome":  # type: ignore[override]
        return Outcome(*(a + b for a, b in zip(self, other, strict=True)))


def store_batch(
    connection: Connection, lane: Lane, batch: IngestBatch, rescore_seconds: float
) -> Mapping[bytes, EventCounts]:
    """Store a batch. Returns what became of each entry's events, by the entry's id. Raises psycopg.Error if Postgres is
    the trouble."""

    def attempt(all_new: bool) -> Mapping[bytes, EventCounts]:
        return _attempt(
            connection,
            lane,
            batch,
            lambda staged: _count_outcome(store_rows(connection, staged, rescore_seconds, lane, all_new)),
            lambda identities: save_identities(connection, lane, identities),
        )

    try:
        if not insertion.is_wary(connection):
            with suppress(MetBefore):
                return attempt(all_new=True)
        return attempt(all_new=False)
    except REFUSALS as error:
        log.info("a batch is stored in parts: %s", type(error).__name__)
    return _attempt(
        connection,
        lane,
        batch,
        lambda staged: store_parts(connection, lane, staged.rows, rescore_seconds),
        lambda identities: _save_identities_apart(connection, lane, identities, rescore_seconds),
    )


def _attempt(
    connection: Connection,
    lane: Lane,
    batch: IngestBatch,
    store: Callable[[StagedRows], Counter[str]],
    save: Callable[[Sequence[Identification]], None],
) -> Mapping[bytes, EventCounts]:
    with connection.transaction():
        erasure.join_storing(connection)
        before = receipts.find_receipts(connection, lane, batch.sources)
        new = batch.without(before)
        save(new.identities)
        totals = store(new.staged) + _bury_unreadable(connection, lane, new.entries)
        outcomes = receipts.share_out(new.sources, totals)
        receipts.save_receipts(connection, lane, new.sources, outcomes)
    return {**before, **outcomes}


def introduce_customers(connection: Connection, lane: Lane, staged: StagedRows) -> None:
    """Insert customers of a batch who may be new, a few in a transaction: whoever else has an event of theirs waits for
    that one alone. Refused rows are left to the transaction of the batch. Raises psycopg.Error if Postgres is the
    trouble."""
    if not bounds.has_new_customers(bounds.find_memory(connection), staged.added):
        return
    with suppress(*REFUSALS):
        while _introduce_batch(connection, lane, staged):
            pass


def _introduce_batch(connection: Connection, lane: Lane, staged: StagedRows) -> bool:
    """Returns False when all are there."""
    try:
        with connection.transaction():
            erasure.join_storing(connection)
            kept, _ = _resolve(connection, lane, staged)
            rows = kept.distinct
            if retention.may_be_pruned(connection, kept):
                rows = retention.without_pruned(connection, rows)
            if not rows:
                return False
            (now_us,) = only_row(connection.execute(sql("begin_storing")))
            added = kept.added
            if rows is not kept.distinct or added.latest_us > now_us:
                added = fold(tabulate(rows), now_us)
            return insertion.introduce(connection, added) == insertion.MOST_INTRODUCED
    except BaseException:
        bounds.find_memory(connection).customers.clear()  # those of this transaction are not there after all
        raise


def save_identities(connection: Connection, lane: Lane | None, identities: Sequence[Identification]) -> None:
    """Store what was said of persons. The caller's transaction holds the shared erasure lock (`join_storing`)."""
    if identities:
        places = [identity.position for identity in identities]
        oldest_us = min(identity.received_us for identity in identities)
        erased = erasure.find_erased(connection, lane, places, oldest_us)
        identify.save_identifications(connection, identities, erased.covers)


def _save_identities_apart(
    connection: Connection, lane: Lane, identities: Sequence[Identification], rescore_seconds: float
) -> None:
    """Save each under a savepoint; one that is refused is buried."""
    for identity in identities:
        try:
            with connection.transaction():
                save_identities(connection, lane, [identity])
        except REFUSALS as error:
            _confirm_refusal(connection, error, rescore_seconds)
            bury(connection, [make_identity_letter(lane, identity, error)])


def store_parts(connection: Connection, lane: Lane, rows: Sequence[Row], rescore_seconds: float) -> Counter[str]:
    """Store rows under a savepoint; where one is refused, halves, until it is alone, and is buried."""
    try:
        with connection.transaction():
            return _count_outcome(store_rows(connection, stage(rows), rescore_seconds, lane))
    except REFUSALS as error:
        if len(rows) == 1:
            _confirm_refusal(connection, error, rescore_seconds)
            letter = make_refused_letter(lane, rows[0], error)
            bury(connection, [letter])
            return Counter({f"dead:{letter.reason}": 1})
    half = len(rows) // 2
    return store_parts(connection, lane, rows[:half], rescore_seconds) + store_parts(
        connection, lane, rows[half:], rescore_seconds
    )


def _confirm_refusal(connection: Connection, error: Exception, rescore_seconds: float) -> None:
    """Make sure that an error which may be the server's fault (UNCLEAR) is not: store an event of ours, and take it
    back. Raises ServerFault."""
    if not isinstance(error, UNCLEAR):
        return
    customer, content = find_customer(NOBODYS_ACCOUNT, "probe@windback.invalid"), read_content("probe", b"")
    now_us = time.time_ns() // 1000
    probe = Row(customer.customer_id, now_us, content.key, now_us, False, customer, content)
    try:
        with connection.transaction():
            _store_staged(connection, stage([probe]), rescore_seconds, all_new=False)
            raise psycopg.Rollback
    except UNCLEAR:
        raise ServerFault(first_line(error)) from error


def store_rows(
    connection: Connection,
    staged: StagedRows,
    rescore_seconds: float,
    lane: Lane | None = None,
    all_new: bool = False,
) -> Outcome:
    """Store events, rollup, customers and when they are due, without events that are stored already or were received
    before their customer was erased. Events of a user id whose address isn't known are put aside. The caller's
    transaction holds the shared erasure lock (`join_storing`). Raises one of REFUSALS for bad rows. `all_new` rows are
    stored faster; raises MetBefore if they aren't all new."""
    if not staged.rows:
        return Outcome()
    kept, resolved = _resolve(connection, lane, staged)
    lane_name = lane.name if lane else None
    unresolved = resolution.put_aside(connection, resolved.unresolved, lane_name)
    if resolved.elsewhere:
        forwarding.note_events(connection, resolved.elsewhere, lane_name)
    if kept.traits:
        profiles.save_properties(connection, kept.rows)
    outcome = _store_staged(connection, kept, rescore_seconds, all_new)
    aside, moved = len(resolved.unresolved), len(resolved.elsewhere)
    return outcome._replace(
        duplicate=outcome.duplicate + aside - unresolved,
        erased=len(staged.rows) - len(kept.rows) - aside - moved,
        unresolved=unresolved,
        moved=moved,
    )


def _resolve(connection: Connection, lane: Lane | None, staged: StagedRows) -> tuple[StagedRows, Resolved]:
    """Returns the rows that are stored here, under their addresses, and what else became of the others."""
    kept = erasure.not_erased(connection, lane, staged)
    resolved = resolution.resolve(connection, kept, lane)
    if resolved.staged is not kept:  # under another address, one may have been erased
        kept = erasure.not_erased(connection, lane, resolved.staged)
    return kept, resolved


def _store_staged(connection: Connection, kept: StagedRows, rescore_seconds: float, all_new: bool) -> Outcome:
    if not kept.rows:
        return Outcome()
    (now_us,) = only_row(connection.execute(sql("begin_storing")))
    try:
        added = kept.added if kept.added.latest_us <= now_us else fold(tabulate(kept.distinct), now_us)
        if all_new:
            insertion.insert_all(connection, kept, added)
            new = kept.distinct
        else:
            new = insertion.insert_new(connection, kept, added, now_us)
            added = fold(tabulate(new), now_us)
        bounded = bounds.bound_details(connection, bounds.find_memory(connection), added)
        columns = kept.columns if bounded is kept.added else make_columns(bounded)
        connection.execute(sql("add_events"), {**columns, "rescore_seconds": rescore_seconds})
    except BaseException:
        bounds.find_memory(connection).customers.clear()  # those of this batch are not there after all
        raise
    return Outcome(stored=len(new), duplicate=len(kept.rows) - len(new))


def _count_outcome(outcome: Outcome) -> Counter[str]:
    return Counter(outcome._asdict())


def _bury_unreadable(connection: Connection, lane: Lane, entries: Iterable[DecodedEntry]) -> Counter[str]:
    """Bury the unreadable parts of entries. Returns how many events are missing for them."""
    letters = [make_unreadable_letter(lane, entry.source, part) for entry in entries for part in entry.unreadable]
    if not letters:
        return Counter()
    bury(connection, letters)
    missing = sum(entry.source.events - len(entry.rows) for entry in entries if entry.unreadable)
    return Counter({f"dead:{UNDECODABLE}": missing})
