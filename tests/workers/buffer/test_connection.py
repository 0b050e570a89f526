"""A connection that several callers share: calls that come together go together, and each has its own answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from workers.buffer.connection import SharedScriptConnection

# Counts its calls, and fails where it is told to.
SCRIPT = """
if ARGV[1] == 'fail' then return redis.error_reply('ERR as told') end
redis.call('INCR', KEYS[1])
return ARGV[1]
"""
SECONDS = 20.0

Use = Callable[[SharedScriptConnection], Awaitable[None]]


def use(url: str, work: Use) -> None:
    """Do something with a connection."""

    async def run() -> None:
        connection = SharedScriptConnection(url, SCRIPT)
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(run())


def test_each_caller_has_its_own_answer(redis_url: str, redis: Any) -> None:
    async def work(connection: SharedScriptConnection) -> None:
        for _ in range(2):  # the server doesn't have the script the first time
            calls = [connection.run([f"calls:{call % 3}"], [call], SECONDS) for call in range(9)]
            assert await asyncio.gather(*calls) == [str(call).encode() for call in range(9)]

    use(redis_url, work)
    assert [int(redis.get(f"calls:{key}") or 0) for key in range(3)] == [6, 6, 6]


def test_calls_that_come_together_go_in_one_piece(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send_all = SharedScriptConnection._send_all

    async def count(
        self: SharedScriptConnection, command: str, script: str, calls: list[object], answers: list[object]
    ) -> None:
        sent.append(len(calls))
        await send_all(self, command, script, calls, answers)  # type: ignore[arg-type]

    monkeypatch.setattr(SharedScriptConnection, "_send_all", count)

    async def work(connection: SharedScriptConnection) -> None:
        await connection.run(["calls"], ["first"], SECONDS)
        sent.clear()
        await asyncio.gather(*(connection.run(["calls"], ["more"], SECONDS) for _ in range(4)))

    use(redis_url, work)
    assert sent == [4]


def test_an_error_is_its_callers_alone(redis_url: str) -> None:
    async def work(connection: SharedScriptConnection) -> None:
        calls = (connection.run(["calls"], [argument], SECONDS) for argument in ("a", "fail", "b"))
        first, failed, last = await asyncio.gather(*calls, return_exceptions=True)
        assert (first, last) == (b"a", b"b")
        assert isinstance(failed, ResponseError)
        assert await connection.run(["calls"], ["c"], SECONDS) == b"c"

    use(redis_url, work)


def test_a_lost_connection_is_opened_again(redis_url: str, redis: Any) -> None:
    async def work(connection: SharedScriptConnection) -> None:
        assert await connection.run(["calls"], ["a"], SECONDS) == b"a"
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        calls = (connection.run(["calls"], [argument], SECONDS) for argument in ("b", "c"))
        assert await asyncio.gather(*calls) == [b"b", b"c"]

    use(redis_url, work)
    assert redis.get("calls") == b"3"


def test_a_server_that_hangs_is_given_up_in_time(redis_url: str, redis: Any) -> None:
    """Whoever came while it hung has its own time, and the next calls have a connection of their own."""

    async def work(connection: SharedScriptConnection) -> None:
        assert await connection.run(["calls"], ["a"], SECONDS) == b"a"
        redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        first = asyncio.create_task(connection.run(["calls"], ["b"], 0.2))
        await asyncio.sleep(0)  # it is on its way
        second = asyncio.create_task(connection.run(["calls"], ["c"], 0.1))
        assert [type(error) for error in await asyncio.gather(first, second, return_exceptions=True)] == 2 * [
            TimeoutError
        ]
        redis.execute_command("CLIENT", "UNPAUSE")
        assert await connection.run(["calls"], ["d"], SECONDS) == b"d"

    use(redis_url, work)
