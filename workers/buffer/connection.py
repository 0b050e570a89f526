"""A connection that runs one script, for where a client's conveniences cost more than the command itself.

A client of redis-py takes a connection from its pool, looks at its health, retries and times out at several layers:
twice the time of a group write. This keeps redis-py's connection and its reading of answers, and nothing else. Several
calls may go together, in one piece and answered in one: each runs by itself, and has an answer of its own.
"""

import asyncio
import hashlib
import math
from collections.abc import Iterable, Sequence
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
UNANSWERED = NoScriptError("the call was not sent yet")

Value = bytes | str | int


class Call(NamedTuple):
    """A script's keys and arguments as they go over the wire: how many values they are, and the bytes."""

    values: int
    packed: bytes

    def extend(self, arguments: Sequence[Value]) -> "Call":
        """Returns the call with more arguments."""
        return Call(self.values + len(arguments), self.packed + _pack(arguments))


def make_call(keys: Sequence[str], arguments: Sequence[Value] = ()) -> Call:
    """Returns a call with these keys and arguments."""
    return Call(0, b"").extend((len(keys), *keys, *arguments))


class ScriptConnection:
    """A connection to Redis on which one script is run, for one caller at a time; so many `replicas` must have what a
    call writes."""

    def __init__(self, url: str, script: str, replicas: int = 0) -> None:
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._by_sha, self._in_full = _pack(("EVALSHA", sha)), _pack(("EVAL", script))
        self._replicas, self._is_closed = replicas, False
        pool = async_pool(url, socket_timeout=None, retry=Retry(NoBackoff(), 0))
        self._connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]

    async def run(self, keys: Sequence[str], arguments: Sequence[Value], seconds: float) -> Any:
        """Returns the script's result. Raises RedisError, OSError, TimeoutError; then it may have run or not."""
        (answer,) = await self.run_all([make_call(keys, arguments)], seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run_all(self, calls: Sequence[Call], seconds: float) -> list[Any]:
        """Returns for each call the script's result, or the error that `run` raises.

        A connection that was lost is opened again and the calls without an answer are repeated, once: the caller's
        calls must bear that. While the keys are on their way from one node to another, they are repeated until they may
        run.
        """
        answers: list[Any] = [UNANSWERED] * len(calls)
        try:
            async with asyncio.timeout(seconds):
                try:
                    await self._have_answered(calls, answers)
                except RedisConnectionError:
                    await self._have_answered_again(calls, answers)
                if self._replicas:
                    await self._wait_for_replicas(seconds)
        except (RedisError, OSError, TimeoutError) as error:
            return [error if self._is_open(answer) else answer for answer in answers]
        finally:
            if self._is_closed:
                await self._connection.disconnect()
        return answers

    async def close(self) -> None:
        """Close the connection; a later call opens another, and closes it."""
        self._is_closed = True
        await self._connection.disconnect()

    async def _have_answered_again(self, calls: Sequence[Call], answers: list[Any]) -> None:
        while True:
            try:
                return await self._have_answered(calls, answers)
            except SlotMoves:
                await asyncio.sleep(MOVING_SECONDS)

    async def _have_answered(self, calls: Sequence[Call], answers: list[Any]) -> None:
        """Send the calls that have no answer, and put their answers in place, errors among them."""
        connection = self._connection
        try:
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await self._send(self._by_sha, calls, answers)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                await self._send(self._in_full, calls, answers)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _send(self, script: bytes, calls: Sequence[Call], answers: list[Any]) -> None:
        connection = self._connection
        places = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        packed = [b"*%d\r\n%b%b" % (2 + calls[place].values, script, calls[place].packed) for place in places]
        await connection.send_packed_command(b"".join(packed), check_health=False)
        for place in places:
            try:
                answers[place] = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except ResponseError as error:
                answers[place] = error

    def _is_open(self, answer: Any) -> bool:
        """Returns whether a failure now makes this answer worth nothing: it is none, or replicas had to confirm it."""
        return isinstance(answer, NoScriptError) or (self._replicas > 0 and not isinstance(answer, Exception))

    async def _wait_for_replicas(self, seconds: float) -> None:
        """Raises NotReplicated unless the replicas have what this connection has written; a new connection has written
        nothing, and would be told at once that they have it."""
        connection = self._connection
        if not connection.is_connected:
            raise RedisConnectionError("the connection was lost after the write")
        try:
            await connection.send_command("WAIT", self._replicas, int(seconds * 1000 * WAIT_SHARE), check_health=False)
            copies = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        check_copies(copies, self._replicas)


def _pack(values: Iterable[Value]) -> bytes:
    """Returns values as Redis reads them."""
    encoded = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in encoded])
