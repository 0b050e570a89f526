"""A connection that runs one script, for where a client's conveniences cost more than the command itself.

A client of redis-py takes a connection from its pool, looks at its health, retries and times out at several layers:
twice the time of a group write. This keeps redis-py's connection and protocol, and nothing else.
"""

import asyncio
import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from workers.buffer.replicas import check_copies
from workers.nodes import SlotMoves
from workers.redis import async_pool

MOVING_SECONDS = 0.02
WAIT_SHARE = 0.7  # of the time for a call, for replicas: a number that is too low says more than none


class ScriptConnection:
    """A connection to Redis on which one script is run, one call at a time; so many `replicas` must have what a call
    writes."""

    def __init__(self, url: str, script: str, replicas: int = 0) -> None:
        self._script, self._replicas = script.encode(), replicas
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        pool = async_pool(url, socket_timeout=None, retry=Retry(NoBackoff(), 0))
        self._connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]

    async def run(self, keys: list[str], arguments: list[Any], seconds: float) -> Any:
        """Returns the script's result. Raises RedisError, OSError, TimeoutError; then it may have run or not.

        A connection that was lost is opened again and the call repeated, once: the caller's call must bear that. While
        the keys are on their way from one node to another, it is repeated until it may run.
        """
        async with asyncio.timeout(seconds):
            try:
                result = await self._run(keys, arguments, seconds)
            except RedisConnectionError:
                result = await self._run_again(keys, arguments, seconds)
            if self._replicas:
                await self._wait_for_replicas(seconds)
            return result

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        await self._connection.disconnect()

    async def _run_again(self, keys: list[str], arguments: list[Any], seconds: float) -> Any:
        while True:
            try:
                return await self._run(keys, arguments, seconds)
            except SlotMoves:
                await asyncio.sleep(MOVING_SECONDS)

    async def _wait_for_replicas(self, seconds: float) -> None:
        """Raises NotReplicated unless the replicas have what this connection has written; a new connection has written
        nothing, and would be told at once that they have it."""
        if not self._connection.is_connected:
            raise RedisConnectionError("the connection was lost after the write")
        try:
            copies = await self._send("WAIT", self._replicas, int(seconds * 1000 * WAIT_SHARE))
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        check_copies(copies, self._replicas)

    async def _run(self, keys: list[str], arguments: list[Any], _: float) -> Any:
        try:
            if not self._connection.is_connected:
                await self._connection.connect()  # type: ignore[no-untyped-call]
            try:
                return await self._send("EVALSHA", self._sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._send("EVAL", self._script, len(keys), *keys, *arguments)
        except ResponseError:
            raise  # an answer: the connection is as good as before
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise

    async def _send(self, *command: Any) -> Any:
        connection = self._connection
        await connection.send_packed_command(connection.pack_command(*command), check_health=False)
        answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
        if isinstance(answer, RedisError):
            raise answer
        return answer


class Call(NamedTuple):
    """A call of a script that waits for its answer."""

    keys: list[str]
    arguments: list[Any]
    seconds: float
    answer: asyncio.Future[Any]


class SharedScriptConnection(ScriptConnection):
    """A connection for several callers: calls that come while others are under way go together, in one piece and
    answered in one. Each is a script of its own, and has an answer of its own."""

    def __init__(self, url: str, script: str) -> None:
        super().__init__(url, script)
        self._calls: list[Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Wait for pending calls, then close the connection. The next call opens another."""
        if self._sending:
            await asyncio.gather(self._sending, return_exceptions=True)
        await super().close()

    async def _run(self, keys: list[str], arguments: list[Any], seconds: float) -> Any:
        loop = asyncio.get_running_loop()
        call = Call(keys, arguments, seconds, loop.create_future())
        self._calls.append(call)
        if self._sending is None:
            self._sending = loop.create_task(self._send_calls())
        return await call.answer

    async def _send_calls(self) -> None:
        try:
            while self._calls:
                calls, self._calls = self._calls, []
                if calls := [call for call in calls if not call.answer.done()]:  # else its caller has given up
                    await self._send_together(calls)
        finally:
            self._sending = None

    async def _send_together(self, calls: Sequence[Call]) -> None:
        answers: list[Any] = []
        try:
            async with asyncio.timeout(max(call.seconds for call in calls)):
                if not self._connection.is_connected:
                    await self._connection.connect()  # type: ignore[no-untyped-call]
                await self._send_all("EVALSHA", self._sha, calls, answers)
                missing = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                if missing:
                    full: list[Any] = []
                    await self._send_all("EVAL", self._script, [calls[place] for place in missing], full)
                    for place, answer in zip(missing, full, strict=True):
                        answers[place] = answer
        except BaseException as error:
            await self._connection.disconnect(nowait=True)
            failure = error if isinstance(error, Exception) else RedisConnectionError("the call was given up")
            answers = [failure if isinstance(answer, NoScriptError) else answer for answer in answers]
            answers += [failure] * (len(calls) - len(answers))
            if not isinstance(error, Exception):
                raise
        finally:
            for call, answer in zip(calls, answers, strict=True):
                _settle(call, answer)

    async def _send_all(self, command: str, script: str | bytes, calls: Sequence[Call], answers: list[Any]) -> None:
        """Send these calls, and add their answers to a list, errors among them."""
        connection = self._connection
        packed = connection.pack_commands(
            [(command, script, len(call.keys), *call.keys, *call.arguments) for call in calls]
        )
        await connection.send_packed_command(packed, check_health=False)
        for _ in calls:
            try:
                answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except ResponseError as error:
                answer = error
            answers.append(answer)


def _settle(call: Call, answer: Any) -> None:
    if call.answer.done():  # its caller has given up
        return
    if isinstance(answer, Exception):
        call.answer.set_exception(answer)
    else:
        call.answer.set_result(answer)
