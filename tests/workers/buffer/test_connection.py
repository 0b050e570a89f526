"""A connection that runs a script: calls that go together each have an answer of their own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from workers.buffer.connection import Call, ScriptConnection, make_call

# Counts its calls, and fails where it is told to.
SCRIPT = """
if ARGV[1] == 'fail' then return redis.error_reply('ERR as told') end
redis.call('INCR', KEYS[1])
return ARGV[1]
"""
SECONDS = 20.0

Use = Callable[[ScriptConnection], Awaitable[None]]


def use(url: str, work: Use) -> None:
    """Do something with a connection."""

    async def run() -> None:
        connection = ScriptConnection(url, SCRIPT)
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(run())


def calls(*arguments: str) -> list[Call]:
    return [make_call(["calls"], [argument]) for argument in arguments]


def test_each_call_has_its_own_answer(redis_url: str, redis: Any) -> None:
    async def work(connection: ScriptConnection) -> None:
        for _ in range(2):  # the server doesn't have the script the first time
            together = [make_call([f"calls:{call % 3}"], [call]) for call in range(9)]
            assert await connection.run_all(together, SECONDS) == [str(call).encode() for call in range(9)]

    use(redis_url, work)
    assert [int(redis.get(f"calls:{key}") or 0) for key in range(3)] == [6, 6, 6]


def test_any_value_arrives_as_it_is(redis_url: str) -> None:
    async def work(connection: ScriptConnection) -> None:
        for value in (b"", b"\r\n$3\r\n\0\xff", b"x" * 2_000_000, "é", -7):
            sent = value if isinstance(value, bytes) else str(value).encode()
            assert await connection.run(["calls"], [value], SECONDS) == sent

    use(redis_url, work)


def test_an_error_is_that_of_its_call_alone(redis_url: str, redis: Any) -> None:
    async def work(connection: ScriptConnection) -> None:
        first, failed, last = await connection.run_all(calls("a", "fail", "b"), SECONDS)
        assert (first, last) == (b"a", b"b")
        assert isinstance(failed, ResponseError)
        assert await connection.run(["calls"], ["c"], SECONDS) == b"c"
        with pytest.raises(ResponseError, match="as told"):
            await connection.run(["calls"], ["fail"], SECONDS)

    use(redis_url, work)
    assert redis.get("calls") == b"3"


def test_a_lost_connection_is_opened_again(redis_url: str, redis: Any) -> None:
    async def work(connection: ScriptConnection) -> None:
        assert await connection.run(["calls"], ["a"], SECONDS) == b"a"
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await connection.run_all(calls("b", "c"), SECONDS) == [b"b", b"c"]

    use(redis_url, work)
    assert redis.get("calls") == b"3"


@pytest.mark.parametrize("times", [1, 2])
def test_a_call_that_has_an_answer_is_not_repeated(
    redis_url: str, redis: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The connection is lost between two answers, and perhaps once more: then the first call keeps its answer."""
    read = AbstractConnection.read_response
    lost: list[bytes] = []

    async def lose(self: AbstractConnection, *arguments: Any, **options: Any) -> Any:
        answer = await read(self, *arguments, **options)
        if answer == b"b" and len(lost) < times:
            lost.append(answer)
            raise RedisConnectionError("lost")
        return answer

    async def work(connection: ScriptConnection) -> None:
        await connection.run(["before"], ["x"], SECONDS)
        monkeypatch.setattr(AbstractConnection, "read_response", lose)
        first, second = await connection.run_all(calls("a", "b"), SECONDS)
        assert first == b"a"
        assert second == b"b" if times == 1 else isinstance(second, RedisConnectionError)
        assert await connection.run(["before"], ["c"], SECONDS) == b"c"

    use(redis_url, work)
    assert redis.get("calls") == b"3"  # of a call whose answer was lost it isn't known that it ran


def test_a_server_that_hangs_is_given_up_in_time(redis_url: str, redis: Any) -> None:
    """The next calls have a connection of their own."""

    async def work(connection: ScriptConnection) -> None:
        assert await connection.run(["calls"], ["a"], SECONDS) == b"a"
        redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        answers = await connection.run_all(calls("b", "c"), 0.2)
        assert [type(answer) for answer in answers] == [TimeoutError] * 2
        redis.execute_command("CLIENT", "UNPAUSE")
        assert await connection.run(["calls"], ["d"], SECONDS) == b"d"

    use(redis_url, work)


def test_a_call_after_the_end_leaves_no_connection_open(redis_url: str, redis: Any) -> None:
    """A request that was under way when its buffer was given up for another."""

    async def run() -> bool:
        connection = ScriptConnection(redis_url, SCRIPT)
        await connection.close()
        assert await connection.run(["calls"], ["late"], SECONDS) == b"late"
        return bool(connection._connection.is_connected)

    assert not asyncio.run(run())
    assert redis.get("calls") == b"1"
