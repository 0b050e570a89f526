from redis import Redis

from tests.workers.events import entry, event, push, push_events, request
from workers.buffer.lanes import HISTORY, LIVE
from workers.buffer.stream import EventCounts, Reader, StreamEntry, forget_consumers


def reader(redis: Redis, name: str = "reader") -> Reader:
    made = Reader(redis, LIVE, name)
    made.read_left_over(60)
    return made


def stored(batch: list[StreamEntry]) -> dict[bytes, EventCounts]:
    return {waiting.id: {"stored": waiting.events} for waiting in batch}


def test_an_entry_stays_until_it_is_settled(redis: Redis) -> None:
    push_events(redis, event())
    batch = reader(redis).read(10, 0.01)
    assert redis.xlen(LIVE.stream) == 1
    reader(redis).acknowledge(stored(batch))
    assert redis.xlen(LIVE.stream) == 0


def test_an_entry_is_read_by_one(redis: Redis) -> None:
    push_events(redis, event())
    assert len(reader(redis, "one").read(10, 0.01)) == 1
    assert reader(redis, "two").read(10, 0.01) == []


def test_what_a_reader_did_not_settle_is_its_left_over(redis: Redis) -> None:
    push_events(redis, event())
    batch = reader(redis).read(10, 0.01)
    assert Reader(redis, LIVE, "reader").read_left_over(60) == batch


def test_settling_twice_counts_once(redis: Redis) -> None:
    """Two workers that stored the same claimed entry settle it once."""
    push_events(redis, event(), event())
    batch = reader(redis).read(10, 0.01)
    assert [reader(redis).acknowledge(stored(batch)), reader(redis, "other").acknowledge(stored(batch))] == [2, 0]
    assert redis.hget(LIVE.ledger, "settled") == b"2"


def test_an_emptied_redis_gets_its_group_again(redis: Redis) -> None:
    lost = reader(redis)
    redis.flushall()
    assert lost.read(10, 0.01) == []
    push_events(redis, event())
    assert len(lost.read(10, 0.01)) == 1


def test_a_large_backlog_is_read_in_bounded_batches(redis: Redis) -> None:
    for _ in range(30):
        push(redis, entry(request(*[event()] * 100)), events=100)
    batch = reader(redis).read(1000, 0.01)
    assert sum(waiting.events for waiting in batch) <= 1000 + 50 * 100


def test_consumers_that_are_gone_are_forgotten_unless_they_hold_something(redis: Redis) -> None:
    push_events(redis, event())
    reader(redis, "holds").read(10, 0.01)
    reader(redis, "gone").read(10, 0.01)
    assert forget_consumers(redis, LIVE, idle_seconds=-1) == 1
    assert [consumer["name"] for consumer in redis.xinfo_consumers(LIVE.stream, "ingest")] == [b"holds"]
    assert forget_consumers(redis, HISTORY, idle_seconds=-1) == 0
