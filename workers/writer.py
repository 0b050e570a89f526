"""The door's side of the buffer: group commit.

Requests that arrive while a write is under way share the next one, as a database groups its commits. Nobody is answered
before Redis has acknowledged the write that holds their events; when it fails, all that wait are told so at once, so
that no request waits longer than one time limit.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.buffer import ENTRY_BYTES, ENTRY_EVENTS, MARK_SECONDS, PUSH
from workers.lanes import Lane
from workers.tickets import mark
from workers.wire import Entry, Request, encode_entry

log = logging.getLogger(__name__)

WRITE_SECONDS = 0.8  # with what surrounds it, an answer comes within a second
GROUP_REQUESTS = 1_000
GROUP_BYTES = 8 << 20


class BufferUnavailable(Exception):
    """Redis did not acknowledge the write in time. What was to be written may be there or not: send it again."""


class Waiting(NamedTuple):
    """A request that waits for its write."""

    request: Request
    events: int
    written: asyncio.Future[None]


class Writer:
    """One web process's way into a lane's buffer."""

    def __init__(self, redis: Redis, lane: Lane, issue_ticket: Callable[[str], Coroutine[None, None, None]]) -> None:
        self._lane = lane
        self._issue_ticket = issue_ticket
        self._push = redis.register_script(PUSH)
        self._keys = [lane.stream, lane.ledger, mark(lane.queue)]
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._tickets: set[asyncio.Task[None]] = set()

    async def write(self, request: Request, events: int) -> None:
        """Return when the request's events are in the buffer. Raises BufferUnavailable."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(request, events, loop.create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = loop.create_task(self._write_groups())
        await waiting.written

    async def finish(self) -> None:
        """Wait for what is under way."""
        pending = [task for task in (self._writing, *self._tickets) if task is not None]
        await asyncio.gather(*pending, return_exceptions=True)

    async def _write_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = _cut(self._waiting)
                try:
                    await self._write(group)
                except (RedisError, OSError, TimeoutError) as error:
                    self._fail(group, error)
        finally:
            self._writing = None

    async def _write(self, group: list[Waiting]) -> None:
        arguments = [part for count, entry in _entries(group) for part in (count, entry)]
        async with asyncio.timeout(WRITE_SECONDS):
            ticket_needed = await self._push(self._keys, [MARK_SECONDS, *arguments])
        for waiting in group:
            if not waiting.written.done():
                waiting.written.set_result(None)
        if ticket_needed:
            task = asyncio.get_running_loop().create_task(self._issue_ticket(self._lane.queue))
            self._tickets.add(task)
            task.add_done_callback(self._tickets.discard)

    def _fail(self, group: list[Waiting], error: Exception) -> None:
        log.warning("the buffer did not take a write: %s", str(error) or type(error).__name__)
        waiting, self._waiting = [*group, *self._waiting], []
        for one in waiting:
            if not one.written.done():
                one.written.set_exception(BufferUnavailable())


def _cut(waiting: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """The next group, and the rest."""
    size = 0
    for index, one in enumerate(waiting):
        size += len(one.request.body)
        if index and (size > GROUP_BYTES or index >= GROUP_REQUESTS):
            return waiting[:index], waiting[index:]
    return waiting, []


def _entries(group: list[Waiting]) -> Iterator[tuple[int, bytes]]:
    """The group as entries of the stream: how many events each holds, and its bytes."""
    requests: list[Request] = []
    events = size = 0
    for one in group:
        if requests and (events + one.events > ENTRY_EVENTS or size + len(one.request.body) > ENTRY_BYTES):
            yield events, encode_entry(Entry(secrets.token_bytes(12), requests))
            requests, events, size = [], 0, 0
        requests.append(one.request)
        events += one.events
        size += len(one.request.body)
    yield events, encode_entry(Entry(secrets.token_bytes(12), requests))
