"""Health: is the process alive, and can it take events?"""

import asyncio
from typing import Literal

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

PROBE = "windback:probe"
PROBE_SECONDS = 0.9


class Health(Struct):
    """The process runs."""

    status: Literal["ok"]


class Parts(Struct):
    """What the service rests on: `ok`, or what is wrong with it."""

    redis: str
    postgres: str


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
    """200 when track can be served: Redis takes writes and never evicts. Postgres is reported, and not required."""
    redis, postgres = await asyncio.gather(_redis_fault(request.app.state.door.redis), _postgres_fault(request))
    detail = Parts(redis or "ok", postgres or "ok")
    if redis:
        return _answer(NotReady("error", "not_ready", redis, detail), 503)
    return _answer(Ready("ok", detail))


async def _redis_fault(redis: Redis) -> str | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await redis.set(PROBE, 1, ex=60)
            policy = (await redis.info("memory")).get("maxmemory_policy")
    except (RedisError, OSError, TimeoutError) as error:
        return f"Redis doesn't take writes: {str(error) or type(error).__name__}"
    if policy not in (None, "noeviction"):
        return f"Redis may evict the buffer: set its maxmemory-policy to noeviction, not {policy}"
    return None


async def _postgres_fault(request: Request) -> str | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS), request.app.state.pool.connection() as connection:
            await connection.execute("SELECT 1")
    except Exception as error:  # whatever it is, it is only reported
        return f"Postgres doesn't answer: {str(error).partition(chr(10))[0] or type(error).__name__}"
    return None


def _answer(value: Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
