import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.waiting import wait_until
from tests.workers.events import entry, event, push, push_events, request
from workers import counters
from workers.buffer import ledger
from workers.buffer.lanes import HISTORY, LIVE, Lane
from workers.buffer.ledger import Ledger
from workers.buffer.stream import Reader, StreamEntry
from workers.ingest import ingest
from workers.process import Process


@pytest.fixture(autouse=True)
def _nothing_counted_yet(redis: Redis) -> None:
    counters.flush_sync(redis)
    redis.flushall()


@pytest.fixture
def away() -> Iterator[Redis]:
    """A client of no server at all."""
    with Redis(port=1) as client:
        yield client


def counted(redis: Redis, name: str) -> dict[str, float]:
    values: Any = redis.hgetall(counters.key(name))
    return counters.parse(values)


def read_ledger(redis: Redis, lane: Lane = LIVE) -> Ledger:
    pipeline = redis.pipeline()
    ledger.queue_read(pipeline, lane)
    return ledger.parse(pipeline.execute()[0])


def read_batch(redis: Redis, name: str = "reader") -> list[StreamEntry]:
    reader = Reader(redis, LIVE, name)
    reader.read_left_over(60, 1000)
    return reader.read(10_000, 0.01)


def test_counts_of_all_processes_add_up(redis: Redis) -> None:
    for _ in range(2):
        counters.add("rejected", "timestamp_invalid")
        counters.add("rejected", "timestamp_invalid", 2)
        counters.flush_sync(redis)
    counters.flush_sync(redis)
    assert counted(redis, "rejected") == {"timestamp_invalid": 6}


def test_a_value_is_counted_in_its_bucket(redis: Redis) -> None:
    for seconds in (0.0001, 0.0005, 0.003, 7.0):
        counters.observe("track_seconds", seconds)
    counters.flush_sync(redis)
    values = counted(redis, "track_seconds")
    assert values.pop("sum") == pytest.approx(7.0036)
    assert values == {"0.0005": 2, "0.005": 1, "+Inf": 1}


def test_what_could_not_be_added_is_kept_for_the_next_time(redis: Redis, away: Redis) -> None:
    counters.add("rejected", "timestamp_invalid")
    counters.flush_sync(away)
    counters.add("rejected", "timestamp_invalid")
    counters.flush_sync(redis)
    assert counted(redis, "rejected") == {"timestamp_invalid": 2}


def test_a_running_web_process_adds_what_it_counted(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between, and at the end."""
    monkeypatch.setattr(counters, "FLUSH_SECONDS", 0.001)

    async def count() -> None:
        async with AsyncRedis.from_url(redis_url) as client, counters.flush_regularly(client):
            counters.add("rejected", "a")
            await asyncio.to_thread(wait_until, lambda: redis.exists(counters.key("rejected")))
            counters.add("rejected", "b")

    asyncio.run(count())
    assert counted(redis, "rejected") == {"a": 1, "b": 1}


def test_a_web_process_keeps_its_counts_through_an_outage(redis: Redis) -> None:
    async def flush() -> None:
        async with AsyncRedis(port=1) as away:
            await counters.flush(away)

    counters.add("rejected", "a")
    asyncio.run(flush())
    counters.flush_sync(redis)
    assert counted(redis, "rejected") == {"a": 1}


def test_counting_costs_as_little_as_a_few_writes_to_a_dictionary() -> None:
    """No call of Redis, no lock, no log record: the hot route counts each request. Side by side, in the thread's own
    time, the best of many short rounds, so that a busy machine slows both or none."""
    plain: defaultdict[str, int] = defaultdict(int)

    def write(name: str, field: str) -> None:
        plain[field] += 1

    def count() -> None:
        counters.observe("track_seconds", 0.0012)
        counters.add("rejected", "timestamp_invalid")

    rounds = [(seconds_of(count), seconds_of(lambda: write("rejected", "timestamp_invalid"))) for _ in range(50)]
    counting, writing = (min(seconds) for seconds in zip(*rounds, strict=True))
    assert counting < 20 * writing


def seconds_of(work: Callable[[], None]) -> float:
    """The time of 500 calls, of this thread."""
    began = time.thread_time()
    for _ in range(500):
        work()
    return time.thread_time() - began


def test_settling_counts_what_became_of_the_events(redis: Redis) -> None:
    push_events(redis, *[event() for _ in range(10)])
    became = {"stored": 6, "duplicate": 2, "dead:DataError": 1, "dead:undecodable": 1}
    Reader(redis, LIVE, "reader").acknowledge({waiting.id: became for waiting in read_batch(redis)})
    ledger = read_ledger(redis)
    assert (ledger.stored, ledger.duplicate, ledger.dead) == (6, 2, {"DataError": 1, "undecodable": 1})
    assert (ledger.accepted, ledger.settled, ledger.unaccounted) == (10, 10, 0)


def test_what_others_settled_is_not_counted_again(redis: Redis) -> None:
    """The worker that settles an entry counts its events; stored + duplicate + dead is always the number of settled
    events."""
    push(redis, entry(request(event())), entry(request(event())), events=5)
    batch = read_batch(redis)
    first, two = (waiting.id for waiting in batch)
    Reader(redis, LIVE, "other").acknowledge({first: {"stored": 5}})
    Reader(redis, LIVE, "reader").acknowledge({first: {"duplicate": 5}, two: {"stored": 2, "dead:DataError": 3}})
    Reader(redis, LIVE, "late").acknowledge({first: {"stored": 5}, two: {"stored": 5}})
    ledger = read_ledger(redis)
    assert (ledger.stored, ledger.duplicate, ledger.dead, ledger.settled) == (7, 0, {"DataError": 3}, 10)
    assert ledger.unaccounted == 0


def test_the_line_counts_every_event_once(process: Process, redis: Redis) -> None:
    same = event(timestamp="2025-12-01T10:00:00Z")
    push_events(redis, same, same, event(properties={"a": "\0"}))
    push(redis, b"\xc1garbage", events=4)
    ingest.drain(process, LIVE)
    ledger = read_ledger(redis)
    assert (ledger.accepted, ledger.stored, ledger.duplicate, ledger.unaccounted) == (7, 1, 1, 0)
    assert ledger.dead == {"undecodable": 4, "UntranslatableCharacter": 1}
    assert counted(redis, "ingest_batch_events") == {"10.0": 1, "sum": 7}
    assert counted(redis, "ingest_seconds")["sum"] > 0


def test_events_that_left_the_buffer_for_nowhere_are_unaccounted(redis: Redis) -> None:
    push_events(redis, event(), event())
    assert read_ledger(redis).unaccounted == 0
    redis.delete(LIVE.stream)
    ledger = read_ledger(redis)
    assert (ledger.buffered, ledger.unaccounted) == (0, 2)


def test_a_buffer_is_stalled_when_entries_wait_and_nothing_is_stored(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_ledger(redis, HISTORY).stalled_seconds == 0
    push_events(redis, event(), event())
    assert read_ledger(redis).stalled_seconds == 0
    monkeypatch.setattr(ledger, "STALLED_SECONDS", 0)
    assert read_ledger(redis).stalled_seconds > 0
    waiting = read_ledger(redis)._replace(oldest_seconds=500.0)
    assert waiting._replace(settled_seconds=3.0).stalled_seconds == 3.0
    assert waiting._replace(settled_seconds=70.0).stalled_seconds == 70.0
    assert waiting._replace(entries=0).stalled_seconds == 0


@pytest.mark.parametrize("settled", [100, 5])
def test_a_stall_shows_though_redis_clock_has_gone_back(redis: Redis, settled: int) -> None:
    """Ids of entries stay ahead of it, so they say nothing of how long these wait."""
    now = int(redis.time()[0])
    redis.xadd(LIVE.stream, {"n": 1, "entry": b""}, id=f"{(now + 86_400) * 1000}-0")
    redis.hset(LIVE.ledger, "accepted", 1)
    redis.hset(LIVE.outcomes, "settled_at", now - settled)
    live = read_ledger(redis)
    assert live.stalled_seconds == pytest.approx(settled if settled >= ledger.STALLED_SECONDS else 0, abs=30)
    assert live.oldest_seconds == pytest.approx(settled, abs=30)
