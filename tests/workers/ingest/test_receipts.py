"""The outcome of an entry is decided once, whatever happens between COMMIT and the entry's leaving the buffer."""

import threading
from collections import Counter

import pytest
from redis import Redis

from tests.waiting import wait_until
from tests.workers.events import count, entry, event, push, push_events, request
from workers.buffer import ledger
from workers.buffer.lanes import LIVE
from workers.buffer.stream import Reader, StreamEntry
from workers.ingest import receipts
from workers.ingest.batches import IngestBatch, decode_batch
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome, store_batch
from workers.process import Process
from workers.store import Connection, connect


def read(redis: Redis, consumer: str) -> IngestBatch:
    reader = Reader(redis, LIVE, consumer)
    reader.read_left_over(60, 1000)
    return decode_batch(reader.read(events=10_000, wait_seconds=0.01))


def books(redis: Redis) -> ledger.Ledger:
    with redis.pipeline(transaction=False) as pipeline:
        ledger.queue_read(pipeline, LIVE)
        return ledger.parse(pipeline.execute()[0])


def test_a_worker_that_dies_between_commit_and_settling_leaves_the_ledger_exact(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """Stored is what was stored, and not a duplicate of itself."""
    same = event(timestamp="2025-12-01")
    push_events(redis, event(), same, same, event(properties={"a": "\0"}))
    store_batch(connection, LIVE, read(redis, process.name), 5)  # and here it dies
    assert drain(process, LIVE) == Outcome(stored=2, duplicate=1, dead=1)
    counted = books(redis)
    assert (counted.accepted, counted.stored, counted.duplicate, sum(counted.dead.values())) == (4, 2, 1, 1)
    assert count(connection, "events") == 2
    assert counted.unaccounted == 0


def test_entries_that_have_landed_and_fresh_ones_come_together(
    process: Process, connection: Connection, redis: Redis
) -> None:
    push_events(redis, event(), event())
    batch = read(redis, "dead")
    store_batch(connection, LIVE, batch, 5)
    push_events(redis, event())
    both = decode_batch([*batch.sources, *read(redis, "next").sources])
    assert [dict(became) for became in store_batch(connection, LIVE, both, 5).values()] == [
        {"stored": 2},
        {"stored": 1},
    ]
    assert count(connection, "events") == 3


def test_two_workers_that_hold_the_same_entry_agree_on_what_became_of_it(
    connection: Connection, redis: Redis, database_url: str
) -> None:
    """A worker was taken for dead and its entries were claimed; then it goes on."""
    push_events(redis, *[event() for _ in range(10)])
    batch = read(redis, "slow")
    counted: list[Counter[str]] = []

    def other() -> None:
        with connect(database_url) as own:
            counted.extend(Counter(became) for became in store_batch(own, LIVE, batch, 5).values())

    claimer = threading.Thread(target=other)
    with connection.transaction():
        counted.extend(Counter(became) for became in store_batch(connection, LIVE, batch, 5).values())
        claimer.start()
        with connect(database_url) as watcher:
            wait_until(lambda: _waits_for_a_lock(watcher))
    claimer.join()
    assert counted == [Counter(stored=10), Counter(stored=10)]
    assert count(connection, "events") == 10


def test_another_redis_may_use_the_same_place_again(connection: Connection, redis: Redis) -> None:
    """Nothing is taken for stored because something else once had its place in a buffer."""
    for batch_id in (b"one batch id", b"two batch id"):
        redis.flushall()
        push(redis, entry(request(event()), batch_id=batch_id))
        (waiting,) = read(redis, "reader").sources
        store_batch(connection, LIVE, decode_batch([waiting._replace(id=b"1700000000000-0")]), 5)
    assert count(connection, "events") == 2


def test_the_note_stays_while_the_entry_does(
    process: Process, connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "PRUNED_TOGETHER", 1)
    push_events(redis, event())
    dead = read(redis, "dead")
    store_batch(connection, LIVE, dead, 5)
    push_events(redis, event())
    push_events(redis, event())
    drain(process, LIVE)
    connection.execute("UPDATE landed SET landed_at = now() - interval '1 hour'")
    receipts.prune(process.connection(), process.redis)
    assert count(connection, "landed") == 1
    Reader(redis, LIVE, "dead").acknowledge({dead.sources[0].id: {"stored": 1}})
    receipts.prune(process.connection(), process.redis)
    assert count(connection, "landed") == 0


def test_a_note_is_kept_for_a_while_after_its_entry_has_left(process: Process, connection: Connection) -> None:
    """A Redis that loses its last second may bring the entry back."""
    push_events(process.redis, event())
    drain(process, LIVE)
    receipts.prune(process.connection(), process.redis)
    assert count(connection, "landed") == 1


def test_what_became_of_a_batch_is_shared_out_without_remainder() -> None:
    batch = [StreamEntry(b"1", 3, b""), StreamEntry(b"2", 0, b""), StreamEntry(b"3", 4, b"")]
    shares = receipts.share_out(batch, Counter({"stored": 4, "dead:DataError": 1, "erased": 0}))
    assert [sum(share.values()) for share in shares.values()] == [3, 0, 4]
    total: Counter[str] = Counter()
    for share in shares.values():
        total.update(share)
    assert total == {"stored": 4, "dead:DataError": 1, "duplicate": 2}


def _waits_for_a_lock(watcher: Connection) -> bool:
    (row,) = watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return bool(row[0])
