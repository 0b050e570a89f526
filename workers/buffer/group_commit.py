"""Group commit: writes that wait while another is under way go together, as a database groups its commits.

Cells that share a server share its connection. What waits for several of them goes in one piece, and is answered in
one; each cell's part is a call of the script of its own, with an answer of its own.
"""

import asyncio
import logging
from typing import Any, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workers.buffer.connection import Call, ScriptConnection

log = logging.getLogger(__name__)

WRITE_SECONDS = 0.8  # the rest of the request included, an answer comes within a second
LODGER_WRITE_SECONDS = 0.5  # likewise, where another cell may be asked after it
GROUP_BYTES = 8 << 20
AWAY = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)


class Committer(Protocol):
    """Something that has calls to be made, one at a time: `take` is followed by `settle`."""

    def take(self) -> Call:
        """Returns its next call."""

    def settle(self, answer: Any) -> None:
        """Take the script's result, or an error."""


class GroupCommit:
    """One web process's way to a server. Each call has so many seconds. `writing` is the task that makes them."""

    def __init__(self, connection: ScriptConnection, seconds: float = WRITE_SECONDS) -> None:
        self._connection, self._seconds = connection, seconds
        self._waiting: list[Committer] = []
        self.writing: asyncio.Task[None] | None = None

    def add(self, committer: Committer) -> None:
        """Have its next call made, after those that are under way."""
        self._waiting.append(committer)
        if self.writing is None:
            self.writing = asyncio.get_running_loop().create_task(self._write_groups())

    async def close(self) -> None:
        """Wait for the calls under way, and close the connection."""
        while self.writing is not None:
            await asyncio.gather(self.writing, return_exceptions=True)
        await self._connection.close()

    async def _write_groups(self) -> None:
        try:
            while self._waiting:
                if not (group := self._take_group()):
                    continue
                answers = await self._connection.run_all([call for _, call in group], self._seconds)
                for (committer, _), answer in zip(group, answers, strict=True):
                    committer.settle(answer)
                if failure := next((answer for answer in answers if isinstance(answer, AWAY)), None):
                    self._fail_waiting(failure)
        finally:
            self.writing = None

    def _take_group(self) -> list[tuple[Committer, Call]]:
        """Returns those that wait with their calls, as many as go together."""
        group: list[tuple[Committer, Call]] = []
        size = 0
        while self._waiting and size < GROUP_BYTES:
            committer = self._waiting.pop(0)
            try:
                call = committer.take()
            except Exception as error:  # a fault of ours: the requests that wait must fail all the same
                log.exception("a write could not be made")
                committer.settle(error)
            else:
                group.append((committer, call))
                size += len(call.packed)
        return group

    def _fail_waiting(self, failure: Exception) -> None:
        """Fail the writes that came meanwhile, too, so that none waits longer than one call takes."""
        waiting, self._waiting = self._waiting, []
        for committer in waiting:
            committer.settle(failure)
