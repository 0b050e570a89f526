"""The door's side of the buffer: group commit.

Requests that arrive while a write is under way share the next one, as a database groups its commits. No request is
answered before Redis has acknowledged the write that holds its events. When a write fails, all requests that wait fail
at once, so none waits longer than one time limit. Rates are counted in the same write: a limit costs no round trip.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError, RedisError

from workers.buffer.arrivals import QUIET_SECONDS
from workers.buffer.capacity import Capacity
from workers.buffer.connection import ScriptConnection
from workers.buffer.entries import Entry, Request, encode_entry
from workers.buffer.lanes import Lane
from workers.buffer.lodging import AWAY_SECONDS, Lodger
from workers.buffer.stream import ENTRY_BYTES, ENTRY_EVENTS
from workers.redis import PREFIX
from workers.tickets import MARK_SECONDS

log = logging.getLogger(__name__)

LODGER_WRITE_SECONDS = 0.5  # likewise, where another cell may be asked after it
WRITE_SECONDS = 0.8  # the rest of the request included, an answer comes within a second
GROUP_REQUESTS = 1_000
GROUP_BYTES = 8 << 20
LOGGED_BATCHES = 10  # in a log record, of those that were not written


Lodge = Callable[[str, Sequence[Lodger]], Coroutine[None, None, bool]]  # the lane, the entries


class BufferUnavailable(Exception):
    """Redis did not acknowledge the write in time. The events may be there or not: send them again."""


class BufferFull(Exception):
    """The buffer is at its cap, or Redis out of memory. Nothing was written: send it again later."""


class RateLimited(Exception):
    """The key's limit is reached. Nothing was written."""

    def __init__(self, wait_us: int) -> None:
        super().__init__(wait_us)
        self.wait_seconds = math.ceil(wait_us / 1_000_000)


class Rate(NamedTuple):
    """A limit on a key, in events a second."""

    key_id: int
    limit: int


def rate_key(rate: Rate) -> str:
    """The key that holds when everything that a key was charged for would have been due."""
    return f"{PREFIX}:rate:{rate.key_id}"


class PendingWrite(NamedTuple):
    """A request that waits for its write."""

    request: Request
    events: int
    rate: Rate | None
    written: asyncio.Future[None]


class Parcel(NamedTuple):
    """Requests that share an entry of the stream; a request whose key has a limit is alone."""

    writes: list[PendingWrite]
    events: int
    batch_id: bytes

    @property
    def entry(self) -> bytes:
        """The entry's bytes."""
        return encode_entry(Entry(self.batch_id, [write.request for write in self.writes]))


class Writer:
    """One web process's way into a lane's buffer. Limits of keys are counted there where there is a single cell."""

    def __init__(
        self,
        push: ScriptConnection,
        lane: Lane,
        capacity: Capacity,
        issue_ticket: Callable[[str], Coroutine[None, None, None]],
        lodge: Lodge | None = None,
    ) -> None:
        self._lane, self._capacity = lane, capacity
        self._issue_ticket, self._lodge = issue_ticket, lodge
        self._send = self._write if lodge is None else self._write_or_lodge
        self.away_until = float("-inf")  # monotonic; until then entries lodge with another cell at once
        self._push = push
        self._keys = [lane.stream, lane.ledger, lane.mark, lane.other.ledger, lane.arrivals]
        self._pending: list[PendingWrite] = []
        self._writing: asyncio.Task[None] | None = None
        self._tickets: set[asyncio.Task[None]] = set()

    async def write(self, request: Request, events: int, rate: Rate | None = None) -> None:
        """Return when the request's events are in the buffer. Raises BufferUnavailable, BufferFull, RateLimited."""
        await self.submit(request, events, rate)

    def submit(self, request: Request, events: int, rate: Rate | None = None) -> asyncio.Future[None]:
        """Returns a future that is done when the request's events are in the buffer, or has one of the errors of
        `write`."""
        loop = asyncio.get_running_loop()
        written = loop.create_future()
        if not self._capacity.has_room(self._lane):
            written.set_exception(BufferFull())
            return written
        self._pending.append(PendingWrite(request, events, rate, written))
        if self._writing is None:
            self._writing = loop.create_task(self._write_groups())
        return written

    async def close(self) -> None:
        """Wait for what is under way, and close the connection."""
        while pending := [task for task in (self._writing, *self._tickets) if task is not None]:
            await asyncio.gather(*pending, return_exceptions=True)
        await self._push.close()

    async def _write_groups(self) -> None:
        try:
            while self._pending:
                group, self._pending = _split_group(self._pending)
                parcels = list(_pack(group))
                try:
                    await self._send(parcels)
                except OutOfMemoryError:
                    self._fail(parcels, BufferFull, "Redis is out of memory")
                except (RedisError, OSError, TimeoutError) as error:
                    self._fail(parcels, BufferUnavailable, str(error) or type(error).__name__)
                except Exception as error:  # a fault of ours: the requests that wait must fail all the same
                    log.exception("a write failed")
                    self._fail(parcels, BufferUnavailable, repr(error))
        finally:
            self._writing = None

    async def _write_or_lodge(self, parcels: list[Parcel]) -> None:
        """As `_write`; while Redis is away, the same entries are written to another cell's."""
        failure: Exception = TimeoutError("Redis did not answer a moment ago")
        if time.monotonic() >= self.away_until:
            try:
                await self._write(parcels, LODGER_WRITE_SECONDS)
                return
            except OutOfMemoryError:
                raise
            except (RedisError, OSError, TimeoutError) as error:
                failure, self.away_until = error, time.monotonic() + AWAY_SECONDS
        assert self._lodge
        if not await self._lodge(self._lane.name, [(parcel.events, parcel.entry) for parcel in parcels]):
            raise failure
        for parcel in parcels:
            for write in parcel.writes:
                _resolve(write.written, None)

    async def _write(self, parcels: list[Parcel], seconds: float = WRITE_SECONDS) -> None:
        keys, arguments = _make_arguments(self._keys, parcels, self._lane.is_history)
        ticket_needed, self._capacity.events, *waits = await self._push.run(keys, arguments, seconds)
        for parcel, wait_us in zip(parcels, waits, strict=True):
            for write in parcel.writes:
                _resolve(write.written, RateLimited(wait_us) if wait_us else None)
        if ticket_needed:
            task = asyncio.get_running_loop().create_task(self._issue_ticket(self._lane.queue))
            self._tickets.add(task)
            task.add_done_callback(self._tickets.discard)

    def _fail(self, parcels: list[Parcel], kind: type[Exception], reason: str) -> None:
        batches = [parcel.batch_id.hex() for parcel in parcels[:LOGGED_BATCHES]]
        failed = [write for parcel in parcels for write in parcel.writes] + self._pending
        facts = {"lane": self._lane.name, "batch_id": batches, "requests": len(failed)}
        log.warning("the buffer did not take a write: %s", reason, extra=facts)
        self._pending = []
        for write in failed:
            _resolve(write.written, kind())


def _resolve(written: asyncio.Future[None], error: Exception | None) -> None:
    if written.done():  # its client has gone
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


def _make_arguments(keys: list[str], parcels: list[Parcel], historical: bool) -> tuple[list[str], list[Any]]:
    """Returns the keys and arguments of PUSH."""
    keys = list(keys)
    accounts = {write.request.account_id for parcel in parcels for write in parcel.writes} if historical else ()
    arguments: list[Any] = [MARK_SECONDS, " ".join(map(str, accounts)), int(QUIET_SECONDS * 1000)]
    for parcel in parcels:
        slot = limit = 0
        if rate := parcel.writes[0].rate:
            keys.append(rate_key(rate))
            slot, limit = len(keys), rate.limit
        arguments += (parcel.events, slot, limit, parcel.entry)
    return keys, arguments


def _split_group(pending: list[PendingWrite]) -> tuple[list[PendingWrite], list[PendingWrite]]:
    """Returns the next group, and the rest."""
    size = 0
    for index, write in enumerate(pending):
        size += len(write.request.body)
        if index and (size > GROUP_BYTES or index >= GROUP_REQUESTS):
            return pending[:index], pending[index:]
    return pending, []


def _pack(group: list[PendingWrite]) -> Iterator[Parcel]:
    shared: list[PendingWrite] = []
    events = size = 0
    for write in group:
        if write.rate:
            yield Parcel([write], write.events, secrets.token_bytes(12))
            continue
        length = len(write.request.body)
        if shared and (events + write.events > ENTRY_EVENTS or size + length > ENTRY_BYTES):
            yield Parcel(shared, events, secrets.token_bytes(12))
            shared, events, size = [], 0, 0
        shared.append(write)
        events += write.events
        size += length
    if shared:
        yield Parcel(shared, events, secrets.token_bytes(12))
