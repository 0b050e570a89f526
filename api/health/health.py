"""Health: is the process alive, and can it take events?"""

import asyncio
from typing import Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.health import probes
from api.health.probes import Line, Stored
from api.server.graceful import draining

DRAINING = "This process is about to end: it finishes what it has, and wants no more"
UNKNOWN = ("unknown", "unknown", "unknown")


class Health(Struct):
    """The process runs."""

    status: Literal["ok"]


class Parts(Struct):
    """What the service rests on: `ok`, or what is wrong with it."""

    redis: str
    postgres: str
    buffer: str
    clock: str
    workers: str
    tracking: str


class Ready(Struct):
    """Events can be taken."""

    status: Literal["ok"]
    detail: Parts


class NotReady(Struct):
    """Events can't be taken; `message` says why."""

    status: Literal["error"]
    code: Literal["not_ready"]
    message: str
    detail: Parts


async def healthz(request: Request) -> Response:
    """200 while the process runs."""
    return _answer(Health("ok"))


async def readyz(request: Request) -> Response:
    """200 when track can be served: Redis takes writes and never evicts, and the process isn't about to end.

    Postgres, a buffer that nobody empties, processes that are missing or get nothing done, and an account whose
    tracking is out are reported, and not required.
    """
    state = request.app.state
    redis, postgres, line, stored = await asyncio.gather(
        probes.redis_fault(state.door.redis),
        probes.postgres_fault(state.pool),
        probes.line_of(state.door.redis),
        probes.postgres_faults(state.pool),
    )
    detail = Parts(*(fault or "ok" for fault in (redis, postgres, *_line_faults(line, stored), stored.tracking)))
    if reason := DRAINING if draining.is_set() else redis:
        return _answer(NotReady("error", "not_ready", reason, detail), 503)
    return _answer(Ready("ok", detail))


def _line_faults(line: Line | None, stored: Stored) -> tuple[str | None, str | None, str | None]:
    """Of the buffer, the clock, the workers."""
    if line is None:
        return UNKNOWN
    clock = None if line.clock else probes.NO_CLOCK
    return probes.stalled(line.ledgers), clock, probes.idle_workers(line.beats, stored.due_seconds)


def _answer(value: Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
