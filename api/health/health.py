"""Health: is the process alive, and can it take events?"""

import asyncio
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.buffers import Buffers, CellBuffer
from api.health import probes
from api.health.probes import PipelineState, StoreState
from api.pool import Pool
from api.server.graceful import draining

DRAINING = "This process is shutting down: it finishes its requests and takes no new ones"
UNKNOWN = ("unknown", "unknown", "unknown")


class Health(Struct):
    """The process runs."""

    status: Literal["ok"]


class Parts(Struct):
    """The parts of the service: `ok`, or what is wrong with it."""

    redis: str
    postgres: str
    buffer: str
    clock: str
    workers: str
    tracking: str


class Ready(Struct):
    """Events can be accepted."""

    status: Literal["ok"]
    detail: Parts


class NotReady(Struct):
    """Events can't be accepted; `message` says why."""

    status: Literal["error"]
    code: Literal["not_ready"]
    message: str
    detail: Parts


async def healthz(request: Request) -> Response:
    """200 while the process runs."""
    return _answer(Health("ok"))


async def readyz(request: Request) -> Response:
    """200 when track can be served: Redis takes writes, never evicts and is ours, the buffer has room for live events,
    and the process isn't about to end. Of several cells, one that is ready will do: the others are reported.

    Postgres, a buffer that nobody empties, processes that are missing or get nothing done, and an account whose
    tracking is out are reported, and not required.
    """
    state = request.app.state
    buffers: Buffers = state.door.buffers
    cells, postgres, line, stored = await asyncio.gather(
        asyncio.gather(*(_read_buffer(buffer, pool) for buffer, pool in zip(buffers.cells, state.pools, strict=True))),
        _find_postgres_faults(state.pool, state.pools, buffers),
        probes.read_pipeline(state.door.redis, buffers.by_cell),
        _read_stores(state.pool, state.pools),
    )
    fault, full = _join_cells(buffers, [cell.fault or cell.warning for cell in cells]), buffers.describe_full()
    faults = (fault, postgres, *_line_faults(line, full, stored), stored.tracking)
    detail = Parts(*(text or "ok" for text in faults))
    reasons = [
        cell.fault or (full if buffer.capacity.is_full else None)
        for cell, buffer in zip(cells, buffers.cells, strict=True)
    ]
    if reason := DRAINING if draining.is_set() else None if None in reasons else reasons[0]:
        return _answer(NotReady("error", "not_ready", reason, detail), 503)
    return _answer(Ready("ok", detail))


class BufferHealth(NamedTuple):
    """The reason why a cell's buffer takes no events, and the remedy."""

    fault: str | None
    warning: str | None


async def _read_buffer(buffer: CellBuffer, pool: Pool) -> BufferHealth:
    redis, foreign, warning = await asyncio.gather(
        probes.find_redis_fault(buffer.redis, buffer.cell.prefix),
        probes.find_foreign_redis(buffer.redis, pool, buffer.cell.prefix),
        probes.find_redis_warning(buffer.redis),
    )
    return BufferHealth(redis or foreign or buffer.fault, warning)


async def _find_postgres_faults(home: Pool, pools: Sequence[Pool], buffers: Buffers) -> str | None:
    """Returns why nothing is stored, at home or in cells, in words, or None."""
    faults = await asyncio.gather(*(probes.find_postgres_fault(pool) for pool in pools))
    at_home = None if home in pools else await probes.find_postgres_fault(home)
    return "; ".join(filter(None, (at_home, _join_cells(buffers, faults)))) or None


async def _read_stores(home: Pool, pools: Sequence[Pool]) -> StoreState:
    """Returns the state of home, and for how long the first rescore of any cell has been due."""
    at_home, *cells = await asyncio.gather(*(probes.read_store_state(pool) for pool in (home, *pools)))
    return at_home._replace(due_seconds=max(cell.due_seconds for cell in cells))


def _join_cells(buffers: Buffers, faults: Sequence[str | None]) -> str | None:
    """Returns the faults of cells in words, each with its cell where there are several; None without any."""
    if len(buffers.cells) == 1:
        return faults[0]
    named = zip(buffers.cells, faults, strict=True)
    return "; ".join(f"cell {buffer.cell.name}: {fault}" for buffer, fault in named if fault) or None


def _line_faults(
    line: PipelineState | None, full: str | None, stored: StoreState
) -> tuple[str | None, str | None, str | None]:
    """Returns the faults of the buffer, the clock and the workers."""
    if line is None:
        return UNKNOWN
    clock = None if line.clock else probes.NO_CLOCK
    workers = probes.describe_idle_workers(line.beats, stored.due_seconds)
    return probes.describe_buffer(line.ledgers, full), clock, workers


def _answer(value: Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
