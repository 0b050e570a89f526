import pytest
from redis import Redis

from tests.workers.events import entry, event, push, push_events, request
from workers.buffer.lanes import HISTORY, LIVE
from workers.buffer.stream import READ_BYTES, READ_ENTRIES, EventCounts, Reader, StreamEntry, forget_consumers


def reader(redis: Redis, name: str = "reader") -> Reader:
    first_reader = Reader(redis, LIVE, name)
    first_reader.read_left_over(60, 1000)
    return first_reader


def stored(batch: list[StreamEntry]) -> dict[bytes, EventCounts]:
    return {source.id: {"stored": source.events} for source in batch}


def test_an_entry_stays_until_it_is_acknowledged(redis: Redis) -> None:
    push_events(redis, event())
    batch = reader(redis).read(10, 0.01)
    assert redis.xlen(LIVE.stream) == 1
    reader(redis).acknowledge(stored(batch))
    assert redis.xlen(LIVE.stream) == 0


def test_an_entry_is_read_by_one(redis: Redis) -> None:
    push_events(redis, event())
    assert len(reader(redis, "one").read(10, 0.01)) == 1
    assert reader(redis, "two").read(10, 0.01) == []


def test_what_a_reader_did_not_acknowledge_is_its_left_over(redis: Redis) -> None:
    push_events(redis, event())
    batch = reader(redis).read(10, 0.01)
    assert Reader(redis, LIVE, "reader").read_left_over(60, 1000) == batch


def test_acknowledging_twice_counts_once(redis: Redis) -> None:
    """Two workers that stored the same claimed entry acknowledge it once."""
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
    assert sum(source.events for source in reader(redis).read(1000, 0.01)) == 1000
    assert sum(source.events for source in reader(redis).read(1, 0.01)) == 100


@pytest.mark.parametrize("wait_seconds", [0.01, 0])
def test_large_entries_are_read_one_by_one(redis: Redis, wait_seconds: float) -> None:
    """An entry over the limit is read alone: nothing after it is read with it."""
    huge = b"x" * (READ_BYTES + 1)
    for data in (b"small", huge, huge, b"small"):
        push(redis, data)
    first_reader = reader(redis)
    batches = [[len(source.data) for source in first_reader.read(1000, wait_seconds)] for _ in range(3)]
    assert batches == [[5, len(huge)], [len(huge)], [5]]


def test_a_left_over_is_bounded_as_well(redis: Redis) -> None:
    for _ in range(4):
        push(redis, b"x" * READ_BYTES)
    lost = reader(redis, "lost")
    for _ in range(4):
        lost.read(1000, 0.01)
    again = Reader(redis, LIVE, "next")
    left_over = again.read_left_over(0, 1000)
    assert len(left_over) == 1
    again.acknowledge(stored(left_over))
    assert again.read_left_over(0, 1000)[0].id > left_over[0].id


def test_more_entries_than_one_call_reads_are_one_batch(redis: Redis) -> None:
    for _ in range(2 * READ_ENTRIES + 10):
        push_events(redis, event())
    first_reader = reader(redis)
    assert len(first_reader.read(5000, 0)) == 2 * READ_ENTRIES + 10
    assert len(first_reader.read_left_over(60, 5000)) == 2 * READ_ENTRIES + 10


def test_an_entry_that_was_deleted_while_it_was_pending_is_passed_over(redis: Redis) -> None:
    push_events(redis, event())
    push_events(redis, event())
    first_reader = reader(redis)
    first, second = first_reader.read(5000, 0.01)
    redis.xdel(LIVE.stream, first.id)
    assert first_reader.read_left_over(60, 5000) == [second]


def test_consumers_that_are_gone_are_forgotten_unless_they_hold_something(redis: Redis) -> None:
    push_events(redis, event())
    reader(redis, "holds").read(10, 0.01)
    reader(redis, "gone").read(10, 0.01)
    assert forget_consumers(redis, LIVE, idle_seconds=-1) == 1
    assert [consumer["name"] for consumer in redis.xinfo_consumers(LIVE.stream, "ingest")] == [b"holds"]
    assert forget_consumers(redis, HISTORY, idle_seconds=-1) == 0
