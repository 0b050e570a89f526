"""A lost connection to Postgres costs the line nothing."""

import threading
from collections.abc import Iterator
from typing import LiteralString

import msgspec
import psycopg
import pytest
from redis import Redis
from rq.registry import FailedJobRegistry

from tests.proxy import Proxy, proxy
from tests.waiting import wait_until
from tests.workers.events import count, event, push_events
from workers import __main__ as workers_main
from workers import jobs, lease, process, retry, tickets
from workers.buffer import ledger
from workers.buffer.lanes import LANES, LIVE
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.risk.rescore import rescore_due
from workers.settings import Settings
from workers.store import Connection, connect, sessions
from workers.tickets import JOB_TIMEOUT_SECONDS


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def way(database_url: str) -> Iterator[Proxy]:
    """The worker's way to Postgres."""
    with proxy(database_url) as made:
        yield made


@pytest.fixture
def worker(way: Proxy, settings: Settings, redis: Redis) -> Iterator[Process]:
    """A worker whose way to Postgres can be cut."""
    made = Process(msgspec.structs.replace(settings, database_url=way.url), redis)
    yield made
    made.disconnect()


def pushed(redis: Redis, events: int = 400) -> None:
    """Write so many events of 50 customers to the buffer."""
    sent = [event(customer_email=f"c{n % 50}@example.com", properties={"n": n}) for n in range(events - 1)]
    push_events(redis, *sent, event(customer_email="c0@example.com", event_id="a"))


def unaccounted(redis: Redis) -> int:
    pipeline = redis.pipeline()
    for lane in LANES.values():
        ledger.queue_read(pipeline, lane)
    return sum(ledger.parse(reply).unaccounted for reply in pipeline.execute())


def settled(connection: Connection, redis: Redis, events: int = 400) -> bool:
    """True if everything is stored once, and nothing is missing, buried or waiting."""
    (rollup,) = connection.execute("SELECT coalesce(sum(n), 0) FROM customer_days").fetchone() or (0,)
    stored = int(redis.hget("windback:outcomes:live", "stored") or 0)
    counts = (count(connection, "events"), rollup, stored, count(connection, "dead_letters"), redis.xlen(LIVE.stream))
    assert unaccounted(redis) == 0
    return counts == (events, events, events, 0, 0)


@pytest.mark.parametrize("after", [1, 2_000, 30_000])
def test_a_connection_that_is_lost_in_the_middle_of_a_copy(
    worker: Process, way: Proxy, redis: Redis, connection: Connection, after: int
) -> None:
    pushed(redis)
    for _ in range(3):
        way.cut_on(b"COPY events", after=after)
    assert drain(worker, LIVE) == Outcome(stored=400)
    assert way.cuts == 3
    assert settled(connection, redis)


@pytest.mark.parametrize("mark", [b"BEGIN", b"INTO customer_days", b"COMMIT"])
def test_a_connection_that_is_lost_between_two_statements(
    worker: Process, way: Proxy, redis: Redis, connection: Connection, mark: bytes
) -> None:
    pushed(redis)
    way.cut_on(mark)
    assert drain(worker, LIVE) == Outcome(stored=400)
    assert way.cuts == 1
    assert settled(connection, redis)


def test_a_connection_that_is_lost_before_the_answer_to_a_commit(
    worker: Process, way: Proxy, redis: Redis, connection: Connection
) -> None:
    """It was carried out, and nobody knows: what became of the events is counted once, and as what it was."""
    pushed(redis)
    way.cut_on(b"COMMIT\0", answer=True)
    drain(worker, LIVE)
    assert way.cuts == 1
    assert settled(connection, redis)


@pytest.mark.parametrize("table", ["event_ids", "events", "customers"])
def test_a_backend_that_is_ended_in_the_middle_of_a_batch(
    process: Process, connection: Connection, redis: Redis, database_url: str, table: LiteralString
) -> None:
    """Twice, where it waits for a table that somebody has locked."""
    pushed(redis)
    thread = threading.Thread(target=drain, args=(process, LIVE))
    with connect(database_url) as other, other.transaction():
        other.execute(f"LOCK {table} IN SHARE MODE")
        thread.start()
        for _ in range(2):
            wait_until(lambda: _end_waiting(connection), timeout=60)
    thread.join()
    assert settled(connection, redis)


def _end_waiting(connection: Connection) -> bool:
    """End the backends that wait for a lock; whether there was one."""
    ended = connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return bool(ended.fetchall())


def test_a_score_whose_connection_is_lost_is_given_again(
    worker: Process, way: Proxy, redis: Redis, connection: Connection
) -> None:
    pushed(redis)
    drain(worker, LIVE)
    way.cut_on(b"risk_history", after=1)
    with pytest.raises(psycopg.OperationalError):
        rescore_due(worker)
    worker.disconnect()
    assert rescore_due(worker) == 50
    assert count(connection, "risk_history") == 50


def test_an_outage_in_the_middle_of_everything_is_waited_through_with_growing_pauses(
    worker: Process, way: Proxy, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(redis)
    pauses: list[int] = []
    pause = worker.pause

    def counted(attempt: int) -> None:
        pauses.append(attempt)
        if attempt == 5:
            way.come_back()
        pause(attempt)

    monkeypatch.setattr(worker, "pause", counted)
    worker.connection()
    way.go_away()
    assert drain(worker, LIVE) == Outcome(stored=400)
    assert pauses == [0, 1, 2, 3, 4, 5]
    assert settled(connection, redis)


def test_what_a_job_was_interrupted_in_does_not_hinder_the_next(process: Process, redis: Redis) -> None:
    def interrupted(process: Process) -> None:
        with process.connection().cursor().copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
            copy.read()
            process.stopping.set()  # it needs not wait for the next one
            raise TimeoutError("as RQ does it")

    jobs.current = process
    with pytest.raises(TimeoutError):
        jobs._run(interrupted)
    jobs.current = None
    assert process.connection().execute("SELECT 1").fetchone() == (1,)


def test_a_job_that_takes_too_long_is_ended_and_its_events_are_stored_by_the_next(
    process: Process, connection: Connection, redis: Redis, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Postgres hangs: RQ interrupts the job wherever it is."""
    monkeypatch.setattr(tickets, "JOB_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(jobs, "FAULT_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "current", process)
    pushed(redis)
    worker = workers_main._worker(process, LIVE.queue)
    with connect(database_url) as other, other.transaction():
        other.execute("LOCK customers IN SHARE MODE")
        tickets.reissue(redis, LIVE.queue)
        worker.work(burst=True, logging_level="ERROR")
        failed = FailedJobRegistry(LIVE.queue, connection=redis, serializer="json")
        assert failed.get_job_count() == 1
    tickets.reissue(redis, LIVE.queue)
    workers_main._worker(process, LIVE.queue).work(burst=True, logging_level="ERROR")
    assert settled(connection, redis)


def test_postgres_gives_up_before_the_job_does() -> None:
    """A statement, and a lock before it; an attempt to connect lasts no longer than the clock's lease."""
    assert sessions.LOCK_TIMEOUT_SECONDS < sessions.STATEMENT_TIMEOUT_SECONDS < JOB_TIMEOUT_SECONDS
    assert retry.RETRY_SECONDS + sessions.CLIENT["connect_timeout"] < JOB_TIMEOUT_SECONDS
    assert sessions.CLIENT["connect_timeout"] < lease.LEASE_SECONDS


def test_a_connection_has_limits(connection: Connection) -> None:
    """A transaction that is left open, a peer that is silently gone: neither holds anything for ever."""
    shown = {
        name: connection.execute(f"SHOW {name}").fetchone()
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    }
    assert shown == {
        "statement_timeout": ("50s",),
        "lock_timeout": ("20s",),
        "idle_in_transaction_session_timeout": ("1min",),
    }
    assert sessions.CLIENT["tcp_user_timeout"] == 30_000
    assert sessions.CLIENT["keepalives_idle"] <= 30
