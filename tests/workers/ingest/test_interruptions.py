"""Outages, workers that die or work at the same time, and attempts that take too long."""

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest
from redis import Redis
from rq.timeouts import JobTimeoutException

from tests.workers.events import count, event, ingested, push, push_events, with_batch
from workers import retry, tickets
from workers.buffer import rows
from workers.buffer.lanes import LIVE, Lane
from workers.buffer.stream import Reader
from workers.ingest import batches, ingest
from workers.ingest.batches import IngestBatch
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome, store_batch
from workers.process import Process
from workers.store import Connection


def test_an_outage_keeps_everything_in_the_buffer(process: Process, redis: Redis, database_url: str) -> None:
    """Postgres away is no reason to lose or to bury anything."""
    away = Process(_with_database(process, "postgresql://127.0.0.1:1/nowhere"), redis)
    away.stopping.set()  # one try is enough
    push_events(redis, event())
    assert drain(away, LIVE) == Outcome()
    assert redis.xlen(LIVE.stream) == 1
    assert tickets.count_waiting(redis, LIVE.queue) == 1
    back = Process(_with_database(process, database_url), redis)
    back.name = away.name
    assert drain(back, LIVE).stored == 1
    back.disconnect()


def test_what_a_dead_worker_had_read_is_claimed(process: Process, redis: Redis, connection: Connection) -> None:
    push_events(redis, event())
    dead = Reader(redis, LIVE, "dead worker")
    dead.read_left_over(60, 1000)
    assert dead.read(10, 0.1)
    assert Reader(redis, LIVE, "next").read_left_over(60, 1000) == []
    (claimed,) = Reader(redis, LIVE, "next").read_left_over(0, 1000)
    assert claimed.events == 1


def test_a_connection_lost_in_mid_batch_is_opened_again(process: Process, connection: Connection) -> None:
    process.connection()
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert ingested(process, event()).stored == 1


def test_workers_over_the_same_customers_neither_deadlock_nor_lose_counts(
    process: Process, connection: Connection, redis: Redis
) -> None:
    emails = [f"c{n}@example.com" for n in range(50)]
    for turn in range(40):
        shuffled = [event(customer_email=email, properties={"turn": turn}) for email in emails]
        push_events(redis, *(reversed(shuffled) if turn % 2 else shuffled))
    workers = [Process(with_batch(process, 200), redis) for _ in range(4)]
    threads = [threading.Thread(target=drain, args=(worker, LIVE)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.disconnect()
    assert count(connection, "events") == 2000
    assert connection.execute("SELECT min(n), max(n), count(*) FROM customer_days").fetchall() == [(40, 40, 50)]
    assert redis.xlen(LIVE.stream) == 0


def test_a_data_error_is_no_outage(process: Process) -> None:
    with pytest.raises(psycopg.DataError):
        process.connection().execute("SELECT 'x'::integer")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An entry's data that no process can read in the time of a job."""
    read = rows.read_entry

    def poison(data: bytes, position: int = 0) -> object:
        if data == b"poison":
            raise JobTimeoutException
        return read(data)

    monkeypatch.setattr(batches, "read_entry", poison)
    return b"poison"


def test_an_entry_that_is_never_read_in_time_is_set_aside_and_the_others_stored(
    process: Process, redis: Redis, connection: Connection, poisoned: bytes
) -> None:
    """Each job is ended by RQ; the next one tries fewer entries, and the last one none but the bad one."""
    for number in range(30):
        push(redis, poisoned) if number == 20 else push_events(redis, event())
    ended = 0
    while redis.xlen(LIVE.stream):
        try:
            drain(process, LIVE)
        except JobTimeoutException:
            ended += 1
        assert ended < 20
    assert count(connection, "events") == 29
    assert connection.execute("SELECT reason, fingerprint, body FROM dead_letters").fetchall() == [
        ("undecodable", "undecodable: FailsAlone", b"poison")
    ]
    assert not redis.hgetall("windback:attempts:live")


def test_a_statement_that_takes_too_long_is_tried_with_fewer_events(
    process: Process, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        push_events(redis, event())
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0)
    monkeypatch.setattr(ingest, "store_batch", slow_for_more_than(2))
    ended = 0
    while redis.xlen(LIVE.stream):
        try:
            drain(process, LIVE)
        except psycopg.errors.QueryCanceled:
            ended += 1
        assert ended < 20
    assert (count(connection, "events"), count(connection, "dead_letters")) == (20, 0)


def slow_for_more_than(entries: int) -> Callable[..., Any]:
    """`store_batch` on a Postgres that can't store more entries than these in time."""

    def store(connection: Connection, lane: Lane, batch: IngestBatch, *rest: Any) -> Any:
        if len(batch.entries) > entries:
            raise psycopg.errors.QueryCanceled
        return store_batch(connection, lane, batch, *rest)

    return store


def _with_database(process: Process, url: str) -> Any:
    return msgspec.structs.replace(process.settings, database_url=url)
