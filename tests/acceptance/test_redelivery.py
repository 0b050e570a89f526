"""A batch that is delivered again is stored once, and what RQ loses doesn't stop the line.

Workers are stopped at known points: a table that is locked holds them inside their transaction, and a Redis that takes
no writes between COMMIT and the acknowledgement.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from tests.acceptance.chaos import books
from tests.acceptance.line import Line
from tests.waiting import wait_until
from tests.workers.events import count, event, push_events
from workers import tickets
from workers.buffer.lanes import GROUP, LIVE
from workers.settings import Settings
from workers.store import Connection, connect

EVENTS = 50
WAIT_SECONDS = 60.0
TAKE_OVER_SECONDS = 20.0  # much more than the line's claim of a second, much less than what RQ takes to notice
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query NOT LIKE 'LOCK TABLE%'
"""


@contextmanager
def held(settings: Settings, connection: Connection) -> Iterator[Callable[[int], None]]:
    """Nobody can store an event in the block. Yields a wait for so many workers that hang in their transactions."""

    def wait_for(workers: int) -> None:
        wait_until(lambda: connection.execute(WAITING).fetchall() == [(workers,)], timeout=WAIT_SECONDS)

    with connect(settings.database_url or "") as other, other.transaction():
        other.execute("LOCK TABLE events IN SHARE MODE")
        yield wait_for


def send(redis: Redis) -> None:
    """Events of a few customers, in one entry of the buffer."""
    push_events(redis, *(event(customer_email=f"c{n % 5}@example.com", properties={"n": n}) for n in range(EVENTS)))


def pending(redis: Redis) -> int:
    """The number of entries that were read and are not acknowledged."""
    return int(redis.xpending(LIVE.stream, GROUP)["pending"])


def stored_once(redis: Redis, connection: Connection, events: int = EVENTS) -> None:
    """Wait until the buffer is empty; then these events are there once, and counted once."""
    wait_until(lambda: not redis.xlen(LIVE.stream), timeout=WAIT_SECONDS)
    assert count(connection, "events") == events
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchall() == [(events,)]
    ledger = books.ledgers(redis)[LIVE.name]
    assert (ledger.accepted, ledger.stored, ledger.unaccounted) == (events, events, 0)


def test_a_worker_killed_before_its_commit_is_taken_over(
    running: Line, settings: Settings, redis: Redis, connection: Connection
) -> None:
    running.start("clock", "ingest")
    with held(settings, connection) as wait_for:
        send(redis)
        wait_for(1)
        assert pending(redis) == 1
        running.kill("ingest")
    assert count(connection, "events") == 0
    running.start("ingest.2")
    began = time.monotonic()
    stored_once(redis, connection)
    assert time.monotonic() - began < TAKE_OVER_SECONDS


def test_a_worker_killed_after_its_commit_leaves_nothing_twice(
    running: Line, settings: Settings, redis: Redis, connection: Connection
) -> None:
    running.start("clock", "ingest")
    with held(settings, connection) as wait_for:
        send(redis)
        wait_for(1)
        redis.client_pause(int(WAIT_SECONDS * 1000), all=False)  # reads go on
    try:
        wait_until(lambda: count(connection, "events") == EVENTS, timeout=WAIT_SECONDS)
        running.kill("ingest")
    finally:
        redis.client_unpause()
    assert pending(redis) == 1  # committed, and not acknowledged
    running.start("ingest.2")
    stored_once(redis, connection)


def test_a_worker_that_was_frozen_does_no_harm_when_it_goes_on(
    running: Line, settings: Settings, redis: Redis, connection: Connection
) -> None:
    running.start("clock", "ingest")
    with held(settings, connection) as wait_for:
        send(redis)
        wait_for(1)
        running.processes["ingest"].send_signal(signal.SIGSTOP)
        running.start("ingest.2")
        wait_for(2)  # the other one has claimed the entry
    running.processes["ingest"].send_signal(signal.SIGCONT)
    stored_once(redis, connection)
    send(redis)
    stored_once(redis, connection, 2 * EVENTS)
    assert running.processes["ingest"].poll() is None
    assert running.processes["ingest.2"].poll() is None


def the_queue(redis: Redis) -> None:
    """The list and the jobs are gone."""
    redis.delete("windback:rq:queue:ingest", *redis.scan_iter(match="windback:rq:job:*"))


def the_job(redis: Redis) -> None:
    """The list names a job that isn't there."""
    redis.delete(*redis.scan_iter(match="windback:rq:job:*"))


def the_ticket(redis: Redis) -> None:
    """The mark is set, and whoever set it died before a job was issued."""
    the_queue(redis)
    redis.persist(tickets.mark_key("ingest"))


def a_taken_job(redis: Redis) -> None:
    """A worker died when it had moved the job to its own list."""
    redis.lmove("windback:rq:queue:ingest", "windback:rq:queue:ingest:intermediate", "RIGHT", "LEFT")


def a_started_job(redis: Redis) -> None:
    """A worker died while it was at the job, which is said to run for a day."""
    job = redis.lpop("windback:rq:queue:ingest")
    assert isinstance(job, bytes)
    redis.hset(b"windback:rq:job:" + job, "status", "started")
    redis.zadd("windback:rq:wip:ingest", {job + b":" + b"0" * 32: time.time() + 86400})


@pytest.mark.parametrize("lose", [the_queue, the_job, the_ticket, a_taken_job, a_started_job])
def test_what_rq_loses_does_not_stop_the_line(
    running: Line, redis: Redis, connection: Connection, lose: Callable[[Redis], None]
) -> None:
    """The clock sees that the buffer holds something and that nobody was called."""
    tickets.ask(redis, "ingest")
    lose(redis)
    send(redis)
    running.start("clock", "ingest")
    began = time.monotonic()
    stored_once(redis, connection)
    assert time.monotonic() - began < TAKE_OVER_SECONDS


def test_a_lost_rescore_is_called_for_again(running: Line, redis: Redis, connection: Connection) -> None:
    running.start("clock", "ingest")
    send(redis)
    stored_once(redis, connection)
    redis.delete("windback:rq:queue:score")
    redis.persist(tickets.mark_key("score"))
    running.start("score")
    unscored = "SELECT count(*) FROM customers WHERE scored_at IS NULL"
    wait_until(lambda: connection.execute(unscored).fetchall() == [(0,)], timeout=WAIT_SECONDS)
