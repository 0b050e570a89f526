import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from api.app import door_redis
from tests.workers.events import event, request
from workers.lanes import LIVE
from workers.wire import Entry, decode_entry
from workers.writer import BufferUnavailable, Writer


async def no_ticket(queue: str) -> None:
    """A ticket issuer that issues none."""


@asynccontextmanager
async def writing(url: str, issue: Callable[[str], Coroutine[None, None, None]] = no_ticket) -> AsyncIterator[Writer]:
    redis: AsyncRedis = door_redis(url)
    writer = Writer(redis, LIVE, issue)
    yield writer
    await writer.finish()
    await redis.aclose()


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

    assert asyncio.run(run()) < 1


def test_a_redis_that_hangs_is_said_within_a_second(redis_url: str, redis: Redis) -> None:
    async def run() -> float:
        async with writing(redis_url) as writer:
            await writer.write(request(event()), 1)
            redis.client_pause(3000)
            began = time.monotonic()
            with pytest.raises(BufferUnavailable):
                await writer.write(request(event()), 1)
            took = time.monotonic() - began
            redis.client_unpause()
            await writer.write(request(event()), 1)  # and it goes on by itself
            return took

    assert asyncio.run(run()) < 1
