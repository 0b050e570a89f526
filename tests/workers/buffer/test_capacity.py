import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis

from api.track.door import door_redis
from tests.workers.events import event, push, push_events
from workers.buffer.capacity import Capacity
from workers.buffer.lanes import HISTORY, LIVE
from workers.settings import Settings


@pytest.mark.parametrize(("events", "live", "history"), [(0, True, True), (49, True, True), (50, True, False),
                                                         (99, True, False), (100, False, False)])  # fmt: skip
def test_history_is_refused_at_half_and_live_events_at_all_of_the_cap(events: int, live: bool, history: bool) -> None:
    capacity = Capacity(cap_events=100, cap_bytes=10**9)
    capacity.events = events
    assert (capacity.has_room(LIVE), capacity.has_room(HISTORY)) == (live, history)


def test_without_a_cap_in_events_memory_alone_counts() -> None:
    capacity = Capacity(cap_events=None, cap_bytes=1000)
    capacity.events = 10**9
    assert (capacity.has_room(LIVE), capacity.has_room(HISTORY)) == (True, True)
    capacity.bytes = 1000
    assert (capacity.describe_full() or "").endswith("; WINDBACK_BUFFER_BYTES is 1,000")


def test_the_default_holds_what_an_hour_at_300_events_a_second_brings(redis: Redis, redis_url: str) -> None:
    """Each event alone in its entry, and of 500 bytes."""
    for number in range(500):
        push_events(redis, event(properties={"note": f"{number:0400}"}))
    settings = Settings()
    assert settings.buffer_events is None
    assert refreshed(redis_url).bytes / 500 * 300 * 3600 < settings.buffer_bytes


def test_memory_counts_as_well() -> None:
    capacity = Capacity(cap_events=100, cap_bytes=1000)
    capacity.bytes = 600
    assert (capacity.has_room(LIVE), capacity.has_room(HISTORY)) == (True, False)


def test_a_full_lane_is_taken_again_under_eighty_percent() -> None:
    capacity = Capacity(cap_events=100, cap_bytes=10**9)
    taken = []
    for events in (100, 90, 80, 79, 99):
        capacity.events = events
        taken.append(capacity.has_room(LIVE))
    assert taken == [False, False, False, True, True]


def refreshed(redis_url: str) -> Capacity:
    capacity = Capacity(cap_events=100, cap_bytes=10**9)
    refresh(capacity, redis_url)
    return capacity


def refresh(capacity: Capacity, redis_url: str) -> None:
    async def run() -> None:
        client = door_redis(redis_url)
        await capacity.refresh(client)
        await client.aclose()

    asyncio.run(run())


def test_both_lanes_are_counted(redis: Redis, redis_url: str) -> None:
    push_events(redis, event(), event())
    push_events(redis, event(), lane=HISTORY)
    capacity = refreshed(redis_url)
    assert capacity.events == 3
    assert 100 < capacity.bytes < 100_000


def test_what_waits_is_counted_and_not_the_data_of_others(redis: Redis, redis_url: str) -> None:
    redis.set("of somebody else", b"x" * 20_000_000)
    assert refreshed(redis_url).bytes == 0
    for _ in range(200):
        push(redis, b"x" * 10_000)
    assert 2_000_000 < refreshed(redis_url).bytes < 4_000_000


def test_a_full_buffer_is_described_with_its_figures() -> None:
    capacity = Capacity(cap_events=100, cap_bytes=10**9)
    assert capacity.describe_full() is None
    capacity.events = 50
    assert (capacity.describe_full() or "").startswith("the buffer is full for history events: it holds 50 events")
    assert not capacity.is_full
    capacity.bytes = 10**9
    assert "full for live and history events" in (capacity.describe_full() or "")
    assert capacity.is_full


def test_a_disk_with_little_room_is_a_full_buffer(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity = Capacity(100, 10**9, tmp_path, floor_bytes=1000)
    rooms = []
    for free in (5000, 1999, 999, 1200, 1300, 5000):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        refresh(capacity, redis_url)
        rooms.append((capacity.has_room(LIVE), capacity.has_room(HISTORY)))
    assert rooms == [(True, True), (True, False), (False, False), (False, False), (True, False), (True, True)]


def test_a_disk_with_little_room_is_named(redis_url: str, tmp_path: Path) -> None:
    capacity = Capacity(100, 10**9, tmp_path, floor_bytes=10**18)
    refresh(capacity, redis_url)
    assert "WINDBACK_DISK_FREE_BYTES" in (capacity.describe_full() or "")
    assert capacity.is_full
