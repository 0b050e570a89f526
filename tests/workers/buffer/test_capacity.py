import asyncio

import pytest
from redis import Redis

from api.track.door import door_redis
from tests.workers.events import event, push_events
from workers.buffer.capacity import Fill
from workers.buffer.lanes import HISTORY, LIVE


@pytest.mark.parametrize(("events", "live", "history"), [(0, True, True), (49, True, True), (50, True, False),
                                                         (99, True, False), (100, False, False)])  # fmt: skip
def test_history_is_refused_at_half_and_live_events_at_all_of_the_cap(events: int, live: bool, history: bool) -> None:
    fill = Fill(cap_events=100, cap_bytes=10**9)
    fill.events = events
    assert (fill.takes(LIVE), fill.takes(HISTORY)) == (live, history)


def test_the_memory_of_redis_counts_as_well() -> None:
    fill = Fill(cap_events=100, cap_bytes=1000)
    fill.bytes = 600
    assert (fill.takes(LIVE), fill.takes(HISTORY)) == (True, False)


def test_a_full_lane_is_taken_again_under_eighty_percent() -> None:
    fill = Fill(cap_events=100, cap_bytes=10**9)
    taken = []
    for events in (100, 90, 80, 79, 99):
        fill.events = events
        taken.append(fill.takes(LIVE))
    assert taken == [False, False, False, True, True]


def test_both_lanes_are_counted(redis: Redis, redis_url: str) -> None:
    push_events(redis, event(), event())
    push_events(redis, event(), lane=HISTORY)
    fill = Fill(cap_events=100, cap_bytes=10**9)

    async def look() -> None:
        client = door_redis(redis_url)
        await fill.look(client)
        await client.aclose()

    asyncio.run(look())
    assert fill.events == 3
    assert fill.bytes > 100_000
