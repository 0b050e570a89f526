import asyncio

import pytest
from redis import Redis

from api.track.door import door_redis
from tests.workers.events import event, push_events
from workers.buffer.capacity import Capacity
from workers.buffer.lanes import HISTORY, LIVE


@pytest.mark.parametrize(("events", "live", "history"), [(0, True, True), (49, True, True), (50, True, False),
                                                         (99, True, False), (100, False, False)])  # fmt: skip
def test_history_is_refused_at_half_and_live_events_at_all_of_the_cap(events: int, live: bool, history: bool) -> None:
    capacity = Capacity(cap_events=100, cap_bytes=10**9)
    capacity.events = events
    assert (capacity.has_room(LIVE), capacity.has_room(HISTORY)) == (live, history)


def test_the_memory_of_redis_counts_as_well() -> None:
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


def test_both_lanes_are_counted(redis: Redis, redis_url: str) -> None:
    push_events(redis, event(), event())
    push_events(redis, event(), lane=HISTORY)
    capacity = Capacity(cap_events=100, cap_bytes=10**9)

    async def look() -> None:
        client = door_redis(redis_url)
        await capacity.refresh(client)
        await client.aclose()

    asyncio.run(look())
    assert capacity.events == 3
    assert capacity.bytes > 100_000
