"""From the buffer into Postgres: read a batch, store it in one transaction, acknowledge it."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from redis.exceptions import RedisError

from workers import counters, logs, tickets
from workers.buffer.attempts import Attempts
from workers.buffer.lanes import Lane
from workers.buffer.stream import EventCounts, Reader
from workers.buffer.table import Table
from workers.identities import forwarding
from workers.ingest import resolving
from workers.ingest.batches import Batches, IngestBatch
from workers.ingest.giving_way import GivingWay
from workers.ingest.transaction import Outcome, introduce_customers, store_batch
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.tracking import volume

log = logging.getLogger(__name__)

BUDGET_SECONDS = 5.0  # how long a ticket drains before it makes room for the next
LINGER_SECONDS = 1.0  # how long it waits for more, so that a trickle of events doesn't cost a job each


class Drained(NamedTuple):
    """The outcome of a ticket."""

    total: Outcome
    more: bool = False  # its time was over: there may be more
    away: bool = False  # Postgres was
    identified: bool = False  # identities were among it


def drain(process: Process, lane: Lane) -> Outcome:
    """Empty the buffer of a cell's lane into Postgres until it is empty or the budget is spent."""
    lane = process.lanes[lane.name]
    tickets.clear_mark(process.redis, lane.queue, lane.prefix)
    if (
        retry_while_unavailable(process, process.connection) is None
    ):  # others may reach Postgres: the entries are theirs
        process.ask_later(lane.queue)
        return Outcome()
    reader = Reader(process.redis, lane, process.name, process.settings.buffer_replicas)
    attempts = Attempts(process.redis, lane)
    with Batches(reader, attempts, process.settings) as batches:
        drained = _drain(process, lane, reader, attempts, batches)
    if drained.identified:
        resolving.drain(process)
    if drained.total.moved:
        retry_while_unavailable(process, lambda: forwarding.deliver(process))
    if drained.away:
        reader.leave(process.settings.claim_seconds)
        process.ask_later(lane.queue)
    elif drained.more:
        process.ask(lane.queue)  # the next ticket goes on
    return drained.total


def _drain(process: Process, lane: Lane, reader: Reader, attempts: Attempts, batches: Batches) -> Drained:
    until = time.monotonic() + BUDGET_SECONDS
    drained = Drained(Outcome())
    giving_way = GivingWay(process.redis, lane) if lane.is_history else None
    if giving_way:
        batches.most_events = giving_way.find_size(process.settings.batch_events)
    while batch := batches.next(LINGER_SECONDS):
        with logs.about(**_ids(lane, batch)):
            outcome = _try(process, lane, reader, attempts, batches, batch)
        if outcome is None:
            return drained._replace(away=True)
        identified = drained.identified or bool(batch.identities)
        drained = drained._replace(total=drained.total + outcome, identified=identified)
        if process.stopping.is_set() or time.monotonic() > until:
            batches.no_more()
            drained = drained._replace(more=True)
        elif giving_way:
            rest_seconds = giving_way.find_rest()
            batches.reads_ahead = not rest_seconds
            batches.most_events = giving_way.find_size(process.settings.batch_events)
            process.stopping.wait(rest_seconds)
            giving_way.begin()
    return drained


def _ids(lane: Lane, batch: IngestBatch) -> dict[str, object]:
    """Returns the fields by which log records name a batch."""
    first, last = (batch.sources[end].id.decode() for end in (0, -1))
    return {"lane": lane.name, "first_entry": first, "last_entry": last}


def _try(
    process: Process, lane: Lane, reader: Reader, attempts: Attempts, batches: Batches, batch: IngestBatch
) -> Outcome | None:
    """Store a batch, and count an attempt that fails. Returns what became of it, or None if Postgres stayed away."""
    try:
        outcome = _ingest(process, lane, reader, batches, batch)
    except BaseException:
        if not batch.is_left_over:  # else this attempt is counted already
            with suppress(RedisError):
                attempts.begin(batch.sources)
        raise
    if batch.is_left_over:
        attempts.end(batch.sources)
    return outcome


def _ingest(process: Process, lane: Lane, reader: Reader, batches: Batches, batch: IngestBatch) -> Outcome | None:
    """Store a batch. Returns what became of it, or None if Postgres stayed away."""
    began = time.monotonic()
    _warn_of_contents(process, batch.staged.table)
    batches.read_ahead(batch)

    def store() -> Mapping[bytes, EventCounts]:
        if lane.is_history:
            introduce_customers(process.connection(), lane, batch.staged)
        return store_batch(process.connection(), lane, batch, process.settings.rescore_seconds)

    outcomes = retry_while_unavailable(process, store)
    if outcomes is None:
        return None
    reader.acknowledge(outcomes)
    process.heartbeat.progress()
    if not lane.is_history:
        volume.add(process.home_redis, batch.volumes)
    _count(process, batch, time.monotonic() - began)
    outcome = _add_up(outcomes)
    _hand_on(process, lane, batch, outcome)
    return outcome


def _warn_of_contents(process: Process, table: Table) -> None:
    """Warn of events that are valid and look wrong."""
    seen = {(account_id, content.event, content.personal) for account_id, content in table.list_contents()}
    process.names.warn_of_near_names(
        process.home_redis, [(account_id, event) for account_id, event, _ in seen], process.warnings
    )
    for account_id, event, path in {(account_id, event, path) for account_id, event, paths in seen for path in paths}:
        message = f"`{path}` looks like personal data; send nothing of that kind but the customer's e-mail."
        process.warnings.add(account_id, "personal_data", path, message, event)
    process.warnings.flush_sync(process.home_redis)


def _count(process: Process, batch: IngestBatch, seconds: float) -> None:
    counters.observe("ingest_batch_events", batch.events)
    counters.observe("ingest_seconds", seconds)
    counters.flush_sync(process.home_redis)


def _add_up(outcomes: Mapping[bytes, EventCounts]) -> Outcome:
    total: Counter[str] = Counter()
    for counts in outcomes.values():
        for outcome, events in counts.items():
            total[outcome.partition(":")[0]] += events
    return Outcome(**total)


def _hand_on(process: Process, lane: Lane, batch: IngestBatch, outcome: Outcome) -> None:
    log.info("ingested", extra={"entries": len(batch.entries), **outcome._asdict()})
    if batch.events >= process.settings.batch_events // 2:
        process.ask(lane.queue)  # a full batch: more hands are welcome
    if outcome.stored:
        process.ask("score")
