import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis

from tests.waiting import SOON
from tests.workers.events import event, request
from workers.buffer.capacity import Capacity
from workers.buffer.connection import ScriptConnection
from workers.buffer.entries import Entry, decode_entry
from workers.buffer.group_commit import GroupCommit
from workers.buffer.lanes import LIVE
from workers.buffer.push import PUSH
from workers.buffer.writer import BufferFull, BufferUnavailable, Rate, RateLimited, Writer, rate_key


async def no_ticket(queue: str) -> None:
    """A ticket issuer that issues none."""


@asynccontextmanager
async def writing(url: str, issue: Callable[[str], Coroutine[None, None, None]] = no_ticket) -> AsyncIterator[Writer]:
    writer = Writer(GroupCommit(ScriptConnection(url, PUSH)), LIVE, Capacity(10**6, 10**12), issue)
    yield writer
    await writer.close()


def entries(redis: Redis) -> list[tuple[int, Entry]]:
    found: Any = redis.xrange(LIVE.stream)
    return [(int(fields[b"n"]), decode_entry(fields[b"entry"])) for _, fields in found]


def test_requests_that_come_together_share_a_write(redis_url: str, redis: Redis) -> None:
    """Group commit: one command for all that wait."""

    async def run() -> None:
        async with writing(redis_url) as writer:
            await asyncio.gather(*[writer.write(request(event()), 1) for _ in range(50)])

    asyncio.run(run())
    assert [(count, len(one.requests)) for count, one in entries(redis)] == [(50, 50)]
    assert redis.hget(LIVE.ledger, "accepted") == b"50"


def test_an_entry_is_kept_small(redis_url: str, redis: Redis) -> None:
    async def run() -> None:
        async with writing(redis_url) as writer:
            await asyncio.gather(*[writer.write(request(*[event()] * 60), 60) for _ in range(5)])

    asyncio.run(run())
    assert [count for count, _ in entries(redis)] == [60] * 5
    assert len({one.batch_id for _, one in entries(redis)}) == 5


def test_one_ticket_is_issued_while_none_was_taken(redis_url: str) -> None:
    issued: list[str] = []

    async def issue(queue: str) -> None:
        issued.append(queue)

    async def run() -> None:
        async with writing(redis_url, issue) as writer:
            for _ in range(3):
                await writer.write(request(event()), 1)

    asyncio.run(run())
    assert issued == [LIVE.queue]


def test_a_redis_that_is_away_is_said_within_a_second_to_all_that_wait(redis: Redis, tmp_path: object) -> None:
    async def run() -> float:
        async with writing(f"unix://{tmp_path}/nobody.sock") as writer:
            began = time.monotonic()
            writes = [writer.write(request(event()), 1) for _ in range(10)]
            results = await asyncio.gather(*writes, return_exceptions=True)
            assert all(isinstance(result, BufferUnavailable) for result in results)
            return time.monotonic() - began

    assert asyncio.run(run()) < SOON


def test_a_redis_that_hangs_is_said_within_a_second(redis_url: str, redis: Redis) -> None:
    async def run() -> float:
        async with writing(redis_url) as writer:
            await writer.write(request(event()), 1)
            redis.client_pause(4_000)
            began = time.monotonic()
            with pytest.raises(BufferUnavailable):
                await writer.write(request(event()), 1)
            took = time.monotonic() - began
            redis.client_unpause()
            await writer.write(request(event()), 1)  # and it goes on by itself
            return took

    assert asyncio.run(run()) < SOON


def test_a_rate_is_counted_in_the_write_itself(redis_url: str, redis: Redis) -> None:
    """Ten events a second: ten at once, and the eleventh waits for as long as it has to."""

    async def run() -> list[object]:
        async with writing(redis_url) as writer:
            rate = Rate(7, 10)
            return await asyncio.gather(
                *[writer.write(request(event()), 1, rate) for _ in range(12)],
                writer.write(request(event()), 1, Rate(8, 10)),
                writer.write(request(event()), 1),
                return_exceptions=True,
            )

    results = asyncio.run(run())
    limited = [result for result in results if isinstance(result, RateLimited)]
    assert [result.wait_seconds for result in limited] == [1, 1]
    assert results[12:] == [None, None]
    assert redis.hget(LIVE.ledger, "accepted") == b"12"
    assert all(0 < redis.pttl(key) < 5000 for key in redis.keys("windback:rate:*"))


def test_a_batch_over_the_rate_is_taken_when_nothing_is_owed(redis_url: str) -> None:
    async def run() -> int:
        async with writing(redis_url) as writer:
            await writer.write(request(*[event()] * 100), 100, Rate(7, 20))
            with pytest.raises(RateLimited) as limited:
                await writer.write(request(event()), 1, Rate(7, 20))
            return limited.value.wait_seconds

    assert asyncio.run(run()) in (4, 5)


def test_a_full_buffer_takes_nothing(redis_url: str, redis: Redis) -> None:
    async def run() -> None:
        writer = Writer(GroupCommit(ScriptConnection(redis_url, PUSH)), LIVE, Capacity(2, 10**12), no_ticket)
        await writer.write(request(event(), event()), 2)
        with pytest.raises(BufferFull):
            await writer.write(request(event()), 1)
        await writer.close()

    asyncio.run(run())
    assert redis.hget(LIVE.ledger, "accepted") == b"2"


def test_a_clock_of_redis_that_goes_back_costs_a_key_no_more_than_it_owed(redis_url: str, redis: Redis) -> None:
    """The debt is noted an hour ahead: a second's worth of events is taken, and no more."""

    async def run() -> list[object]:
        async with writing(redis_url) as writer:
            rate = Rate(7, 10)
            await writer.write(request(event()), 10, rate)
            seconds, micros = redis.time()
            ahead = (seconds + 3600) * 1_000_000 + micros
            redis.set(rate_key(rate), f"{ahead + 1_000_000} {ahead}")
            return list(await asyncio.gather(writer.write(request(event()), 1, rate), return_exceptions=True))

    (error,) = asyncio.run(run())
    assert isinstance(error, RateLimited)
    assert error.wait_seconds == 1


@pytest.mark.parametrize("value", ["nonsense", "9" * 16, "1 2 3", "-5 -5"])
def test_what_is_no_rate_limits_nobody(redis_url: str, redis: Redis, value: str) -> None:
    async def run() -> None:
        async with writing(redis_url) as writer:
            redis.set(rate_key(Rate(7, 10)), value)
            await writer.write(request(event()), 1, Rate(7, 10))

    asyncio.run(run())
