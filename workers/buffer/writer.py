"""The door's side of the buffer: requests become entries, and are answered when these are written.

Requests that arrive while a write is under way share the next one (see group_commit.py). No request is answered before
Redis has acknowledged the write that holds its events. When a write fails, all requests that wait fail at once, so none
waits longer than one time limit. Rates are counted in the same write: a limit costs no round trip.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError, RedisError

from workers.buffer.arrivals import QUIET_SECONDS
from workers.buffer.capacity import Capacity
from workers.buffer.connection import Call, Value, make_call
from workers.buffer.entries import Entry, Request, encode_entry
from workers.buffer.group_commit import GROUP_BYTES, GroupCommit
from workers.buffer.lanes import Lane
from workers.buffer.lodging import AWAY_SECONDS, Lodger
from workers.buffer.push import parse_answer
from workers.buffer.stream import ENTRY_BYTES, ENTRY_EVENTS
from workers.redis import PREFIX
from workers.tickets import MARK_SECONDS

log = logging.getLogger(__name__)

GROUP_REQUESTS = 1_000
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


class RequestParts:
    """The parts of a request for several cells, in place of the request's future: that is done once all of them have an
    outcome, with the first error if there was one."""

    def __init__(self, written: asyncio.Future[None], parts: int) -> None:
        self._written, self._left = written, parts
        self._error: Exception | None = None

    def done(self) -> bool:
        """Returns False: a part has its outcome once."""
        return False

    def set_result(self, _: None) -> None:
        """A part is in the buffer of its cell."""
        self._left -= 1
        if not self._left:
            _resolve(self._written, self._error)

    def set_exception(self, error: Exception) -> None:
        """A part is not, or it isn't known."""
        self._error = self._error or error
        self.set_result(None)


Written = asyncio.Future[None] | RequestParts


class PendingWrite(NamedTuple):
    """A request that waits for its write, or a part of one."""

    request: Request
    events: int
    rate: Rate | None
    written: Written


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
        commit: GroupCommit,
        lane: Lane,
        capacity: Capacity,
        issue_ticket: Callable[[str], Coroutine[None, None, None]],
        lodge: Lodge | None = None,
    ) -> None:
        self._commit, self._lane, self._capacity = commit, lane, capacity
        self._issue_ticket, self._lodge = issue_ticket, lodge
        self.away_until = float("-inf")  # monotonic; until then entries lodge with another cell at once
        self._keys = [lane.stream, lane.ledger, lane.mark, lane.other.ledger, lane.arrivals]
        self._plain_call = make_call(self._keys, _begin_arguments(()))  # of live events whose keys have no limit
        self._pending: list[PendingWrite] = []
        self._parcels: list[Parcel] = []  # of the write that is under way
        self._is_busy = False  # from the first request that waits until none does
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, request: Request, events: int, rate: Rate | None = None) -> None:
        """Return when the request's events are in the buffer. Raises BufferUnavailable, BufferFull, RateLimited."""
        written = asyncio.get_running_loop().create_future()
        self.submit(request, events, rate, written)
        await written

    def submit(self, request: Request, events: int, rate: Rate | None, written: Written) -> None:
        """Resolve the future when the request's events are in the buffer, or with one of the errors of `write`."""
        if not self._capacity.has_room(self._lane):
            written.set_exception(BufferFull())
            return
        self._pending.append(PendingWrite(request, events, rate, written))
        if not self._is_busy:
            self._is_busy = True
            self._go_on()

    async def close(self) -> None:
        """Wait for the writes under way, and close the connection."""
        while tasks := [task for task in (self._commit.writing, *self._tasks) if task is not None]:
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._commit.close()

    def take(self) -> Call:
        """Returns the call that writes the next group of requests."""
        self._parcels = self._take_parcels()
        return self._make_call(self._parcels)

    def settle(self, answer: Any) -> None:
        """Resolve the requests of the call that was made; with an error, all that wait."""
        parcels, self._parcels = self._parcels, []
        try:
            if isinstance(answer, Exception):
                raise answer
            self._resolve_all(parcels, answer)
        except OutOfMemoryError:
            self._fail(parcels, BufferFull, "Redis is out of memory")
        except (RedisError, OSError, TimeoutError) as error:
            if self._lodge:
                self.away_until = time.monotonic() + AWAY_SECONDS
                self._start(self._lodge_group(self._lodge, parcels, error))
                return
            self._fail(parcels, BufferUnavailable, str(error) or type(error).__name__)
        except Exception as error:  # a fault of ours: the requests that wait must fail all the same
            log.exception("a write failed")
            self._fail(parcels, BufferUnavailable, repr(error))
        self._go_on()

    def _go_on(self) -> None:
        if not self._pending:
            self._is_busy = False
        elif self._lodge and time.monotonic() < self.away_until:
            self._start(self._lodge_group(self._lodge, [], TimeoutError("Redis did not answer a moment ago")))
        else:
            self._commit.add(self)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lodge_group(self, lodge: Lodge, parcels: list[Parcel], failure: Exception) -> None:
        """Write these entries, or the next, to another cell's buffer: Redis is away."""
        try:
            parcels = parcels or self._take_parcels()
            if await lodge(self._lane.name, [(parcel.events, parcel.entry) for parcel in parcels]):
                for write in _list_writes(parcels):
                    _resolve(write.written, None)
            else:
                self._fail(parcels, BufferUnavailable, str(failure) or type(failure).__name__)
        except Exception as error:  # as above
            log.exception("a write could not lodge")
            self._fail(parcels, BufferUnavailable, repr(error))
        self._go_on()

    def _take_parcels(self) -> list[Parcel]:
        group, self._pending = _split_group(self._pending)
        return list(_pack(group))

    def _resolve_all(self, parcels: list[Parcel], answer: bytes) -> None:
        ticket_needed, self._capacity.events, *waits = parse_answer(answer)
        for parcel, wait_us in list(zip(parcels, waits, strict=True)):  # first all are looked at: a part counts once
            for write in parcel.writes:
                _resolve(write.written, RateLimited(wait_us) if wait_us else None)
        if ticket_needed:
            self._start(self._issue_ticket(self._lane.queue))

    def _fail(self, parcels: list[Parcel], kind: type[Exception], reason: str) -> None:
        batches = [parcel.batch_id.hex() for parcel in parcels[:LOGGED_BATCHES]]
        failed = [*_list_writes(parcels), *self._pending]
        facts = {"lane": self._lane.name, "batch_id": batches, "requests": len(failed)}
        log.warning("the buffer did not take a write: %s", reason, extra=facts)
        self._pending = []
        for write in failed:
            _resolve(write.written, kind())

    def _make_call(self, parcels: list[Parcel]) -> Call:
        """Returns a call of PUSH."""
        limits: list[str] = []
        arguments: list[Value] = []
        for parcel in parcels:
            slot = limit = 0
            if rate := parcel.writes[0].rate:
                limits.append(rate_key(rate))
                slot, limit = len(self._keys) + len(limits), rate.limit
            arguments += (parcel.events, slot, limit, parcel.entry)
        accounts = {write.request.account_id for write in _list_writes(parcels)} if self._lane.is_history else ()
        if not limits and not accounts:
            return self._plain_call.extend(arguments)
        return make_call([*self._keys, *limits], [*_begin_arguments(accounts), *arguments])


def _begin_arguments(accounts: Iterable[int]) -> Sequence[Value]:
    """Returns the arguments of PUSH that stand before the entries; `accounts` are those whose history they hold."""
    return MARK_SECONDS, " ".join(map(str, accounts)), int(QUIET_SECONDS * 1000)


def _list_writes(parcels: Iterable[Parcel]) -> Iterator[PendingWrite]:
    return (write for parcel in parcels for write in parcel.writes)


def _resolve(written: Written, error: Exception | None) -> None:
    if written.done():  # its client has gone
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


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
