"""Health: is the process alive, and can it take events?"""

import asyncio
from typing import Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.health import probes
from api.health.probes import PipelineState, StoreState
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
    and the process isn't about to end.

    Postgres, a buffer that nobody empties, processes that are missing or get nothing done, and an account whose
    tracking is out are reported, and not required.
    """
    state = request.app.state
    redis, foreign, warning, postgres, line, stored = await asyncio.gather(
        probes.find_redis_fault(state.door.redis),
        probes.find_foreign_redis(state.door.redis, state.pool),
        probes.find_redis_warning(state.door.redis),
        probes.find_postgres_fault(state.pool),
        probes.read_pipeline(state.door.redis),
        probes.read_store_state(state.pool),
    )
    full = state.door.capacity.describe_full()
    fault = redis or foreign
    faults = (fault or warning, postgres, *_line_faults(line, full, stored), stored.tracking)
    detail = Parts(*(text or "ok" for text in faults))
    if reason := DRAINING if draining.is_set() else fault or (full if state.door.capacity.is_full else None):
        return _answer(NotReady("error", "not_ready", reason, detail), 503)
    return _answer(Ready("ok", detail))


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
