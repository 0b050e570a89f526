"""The buffers of all cells, as a web process writes to them: a request is split by cell, and `ok` when all have it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from workers import installation, placement
from workers.buffer.capacity import Capacity
from workers.buffer.charges import BEFORE_WRITE_SECONDS, Charges
from workers.buffer.connection import ScriptConnection
from workers.buffer.entries import Request
from workers.buffer.group_commit import LODGER_WRITE_SECONDS, WRITE_SECONDS, GroupCommit
from workers.buffer.lanes import lanes_of
from workers.buffer.lodging import Host, lodge
from workers.buffer.parts import BodyPart
from workers.buffer.push import PUSH
from workers.buffer.writer import BufferUnavailable, Rate, RequestParts, Writer, Written
from workers.cells import Cell
from workers.placement import Announced
from workers.redis import PREFIX, REDIS_AWAY
from workers.settings import Settings

log = logging.getLogger(__name__)

UNKNOWN_SECONDS = 5.0  # no writes to a Redis that did not name its installation; it is asked every second
UNCHECKED = "it isn't known yet which cells this Redis belongs to"

# Prepares the rest of the process for more cells. Returns a function that makes the change, with that of the buffers.
Grow = Callable[[Settings], Coroutine[None, None, Callable[[], None]]]
IssueTicket = Callable[[str, int | None], Coroutine[None, None, None]]


class CellBuffer:
    """The buffer of a cell. `fault` says why nothing may be written to it. `commits` are the ways to the lanes."""

    def __init__(
        self,
        settings: Settings,
        cell: Cell,
        redis: Redis,
        commits: Mapping[str, GroupCommit],
        issue: IssueTicket,
        hosts: Sequence[Host],
    ) -> None:
        lanes, folder = lanes_of(cell), find_redis_folder(settings, cell)
        events, size = share_caps(settings)
        self.cell, self.redis = cell, redis
        self.fault: str | None = UNCHECKED
        self.is_checked = False
        self.capacity = Capacity(events, size, folder, settings.disk_free_bytes, lanes)
        self.writers = {
            name: Writer(
                commits[name],
                lane,
                self.capacity,
                partial(_issue, issue, cell.number),
                partial(lodge, hosts, cell) if hosts else None,
            )
            for name, lane in lanes.items()
        }

    def write(self, lane: str, request: Request, events: int, rate: Rate | None = None) -> asyncio.Future[None]:
        """Returns a future that is done when the request's events are in the buffer, or has one of the errors
        BufferUnavailable, BufferFull, RateLimited."""
        written = asyncio.get_running_loop().create_future()
        self.submit(lane, request, events, rate, written)
        return written

    def submit(self, lane: str, request: Request, events: int, rate: Rate | None, written: Written) -> None:
        """Resolve the future when the request's events are in the buffer, or with one of these errors."""
        if self.fault is None:
            self.writers[lane].submit(request, events, rate, written)
        else:
            written.set_exception(BufferUnavailable())

    def lodge_all(self) -> None:
        """Let entries lodge with other cells for a moment: this Redis may yet prove to be the wrong one."""
        for writer in self.writers.values():
            writer.away_until = time.monotonic() + UNKNOWN_SECONDS

    async def close(self) -> None:
        """Writes the pending entries, then closes the connections."""
        for writer in self.writers.values():
            await writer.close()


def share_caps(settings: Settings) -> tuple[int | None, int]:
    """Returns a cell's share of the buffer's caps, in events and bytes; lodgers may take as much again."""
    events = settings.buffer_events and -(-settings.buffer_events // settings.cells)
    return events, -(-settings.buffer_bytes // settings.cells)


class Buffers:
    """The buffers of all cells, in their order."""

    def __init__(self, settings: Settings, home: Redis, connect: Callable[[str], Redis], issue: IssueTicket) -> None:
        self._home, self._connect, self._issue, self.settings = home, connect, issue, settings
        self._clients = {settings.redis_url or "": home}  # by URL: in a cluster, each cell has one of its own
        self.cells, self._hosts = self._make_cells(settings)
        copies = placement.list_copies(settings)
        self.copies = [(self._clients[cell.buffer_url], cell.copy_prefix) for cell in copies]
        self.charges = Charges(settings.redis_url or "")
        if len(self.cells) > 1:
            self.charges.seconds = BEFORE_WRITE_SECONDS
        self.grow: Grow | None = None

    def _make_cells(self, settings: Settings) -> tuple[list[CellBuffer], list[Host]]:
        for cell in settings.all_cells:
            if cell.buffer_url not in self._clients:
                self._clients[cell.buffer_url] = self._connect(cell.buffer_url)
        caps = share_caps(settings)
        several = len({cell.buffer_url for cell in settings.all_cells}) > 1
        hosts = [Host(cell, *caps, settings.buffer_replicas) for cell in settings.all_cells] if several else []
        commits = _make_commits(settings, LODGER_WRITE_SECONDS if several else WRITE_SECONDS)
        return [
            CellBuffer(settings, cell, self._clients[cell.buffer_url], commits[cell], self._issue, hosts)
            for cell in settings.all_cells
        ], hosts

    async def write(
        self, lane: str, account_id: int, received_us: int, parts: Mapping[int, BodyPart], rate: Rate | None
    ) -> None:
        """Return when all parts are in the buffers of their cells. Raises BufferUnavailable, BufferFull, RateLimited.

        A limit of the key is counted at home, since it holds for all cells.
        """
        if rate:
            await self.charges.charge(rate, sum(part.events for part in parts.values()))
        written = asyncio.get_running_loop().create_future()
        shared = written if len(parts) == 1 else RequestParts(written, len(parts))
        for number, part in parts.items():
            self.cells[number].submit(lane, Request(account_id, received_us, part.body), part.events, None, shared)
        await written

    @property
    def by_cell(self) -> Mapping[Cell, Redis]:
        """The Redis of each cell."""
        return {buffer.cell: buffer.redis for buffer in self.cells}

    def describe_full(self) -> str | None:
        """Returns which events are refused, and why, of the first cell that is full, or None."""
        return next(filter(None, (buffer.capacity.describe_full() for buffer in self.cells)), None)

    async def refresh(self) -> None:
        """Read whether the cells are where they were, and how full each is."""
        await self._check_places()
        for buffer in self.cells:
            try:
                await buffer.capacity.refresh(buffer.redis)
            except REDIS_AWAY as error:
                log.debug("Redis can't do it now: %s", error)

    async def close(self) -> None:
        """Writes the pending entries, then closes the connections."""
        for buffer in self.cells:
            await buffer.close()
        for host in self._hosts:
            await host.close()
        await self.charges.close()
        for client in self._clients.values():
            if client is not self._home:
                await client.aclose()

    async def _check_places(self) -> None:
        """Compare each buffer with what the clock has announced to all of them. The buffers of a Redis
        that doesn't answer stay as they were; one that never did is not written to: its entries lodge elsewhere."""
        announced = await self._read_announced()
        if announced is None:
            return
        after = placement.follow(self.settings, Announced.of(announced))
        if after != self.settings:
            await self._follow(after, announced)
        else:
            await self._find_faults(self.cells, announced)

    async def _find_faults(self, cells: Sequence[CellBuffer], announced: Mapping[str, str]) -> None:
        fault = placement.find_fault(announced, len(cells))
        for buffer in cells:
            buffer.fault = fault
            if fault is None and len(cells) > 1:
                buffer.fault = await self._find_misplaced(buffer, announced)

    async def _follow(self, after: Settings, announced: Mapping[str, str]) -> None:
        """Go on with more cells: they have been divided. Workers pass on entries that were split for fewer."""
        cells, hosts = self._make_cells(after)
        await self._find_faults(cells, announced)
        take_over = await self.grow(after) if self.grow else None
        before, hosts_before = self.cells, self._hosts
        self.cells, self._hosts, self.settings = cells, hosts, after
        self.charges.seconds = BEFORE_WRITE_SECONDS
        if take_over:
            take_over()
        for buffer in before:
            await buffer.close()
        for host in hosts_before:
            await host.close()

    async def _read_announced(self) -> Mapping[str, str] | None:
        """Returns the fields that home has announced; where its Redis is away, the copy in another one."""
        for redis, prefix in ((self._home, PREFIX), *self.copies):
            try:
                fields: Mapping[bytes, bytes] = await _maybe(redis.hgetall(placement.announced_key(prefix)))
            except REDIS_AWAY as error:
                log.debug("Redis can't do it now: %s", error)
            else:
                return {name.decode(): value.decode() for name, value in fields.items()}
        return None

    async def _find_misplaced(self, buffer: CellBuffer, announced: Mapping[str, str]) -> str | None:
        try:
            tied: bytes | None = await _maybe(buffer.redis.get(installation.key_of(buffer.cell.prefix)))
        except REDIS_AWAY:
            if not buffer.is_checked:
                buffer.lodge_all()
            return None
        if (tied or b"").decode() != announced.get(buffer.cell.name):
            return placement.describe_swapped(buffer.cell)
        buffer.is_checked = True
        return None


def _make_commits(settings: Settings, seconds: float) -> Mapping[Cell, Mapping[str, GroupCommit]]:
    """Returns the ways to the lanes of each cell, by the lane's name. Cells of a server share them, so that what
    requests have for all of them takes one write to a socket; not where replicas are waited for, since each connection
    waits for its own."""
    shared: dict[tuple[str, str], GroupCommit] = {}
    commits: dict[Cell, dict[str, GroupCommit]] = {}
    for cell in settings.all_cells:
        commits[cell] = {}
        for name in lanes_of(cell):
            commit = shared.get((cell.buffer_url, name))
            if commit is None or settings.buffer_replicas:
                connection = ScriptConnection(cell.buffer_url, PUSH, settings.buffer_replicas)
                commit = shared[cell.buffer_url, name] = GroupCommit(connection, seconds)
            commits[cell][name] = commit
    return commits


async def _maybe(result: Any) -> Any:
    return await result


async def _issue(issue: IssueTicket, number: int | None, queue: str) -> None:
    await issue(queue, number)


def find_redis_folder(settings: Settings, cell: Cell) -> Path | None:
    """Returns where `windback up` keeps the files of this cell's Redis, or None if Redis is another one."""
    folder = settings.data_dir / "redis"
    return folder if cell.buffer_url.startswith("unix:") and folder.is_dir() else None
