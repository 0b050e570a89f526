"""How the servers and the line are, asked within a second and answered in words, never in exceptions."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, TypeVar

from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers import clock, ledger
from workers.lanes import LANES
from workers.ledger import Ledger
from workers.store import sql

PROBE = "windback:probe"
PROBE_SECONDS = 0.9
OUTAGE = (RedisError, OSError, TimeoutError)
NO_CLOCK = "no clock holds the lease; start `python -m workers clock`"

T = TypeVar("T")

_given_up: set[asyncio.Task[Any]] = set()  # a task that nobody refers to may vanish


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, or TimeoutError, which does not wait until `work` has been cancelled: psycopg takes its time
    with a server that hangs."""
    task = asyncio.create_task(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        return task.result()
    _given_up.add(task)
    task.add_done_callback(_forget)
    task.cancel()
    raise TimeoutError(f"no answer within {seconds:g} s")


def _forget(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()  # nobody else will ask for it


async def redis_fault(redis: Redis) -> str | None:
    """Why the buffer can't be trusted to Redis now."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await redis.set(PROBE, 1, ex=60)
            policy = (await redis.info("memory")).get("maxmemory_policy")
    except OUTAGE as error:
        return f"Redis doesn't take writes: {str(error) or type(error).__name__}"
    if policy not in (None, "noeviction"):
        return f"Redis may evict the buffer: set its maxmemory-policy to noeviction, not {policy}"
    return None


async def postgres_fault(pool: AsyncConnectionPool) -> str | None:
    """Why nothing can be stored now."""
    try:
        await within(PROBE_SECONDS, _select(pool))
    except Exception as error:  # whatever it is, it is only reported
        return f"Postgres doesn't answer: {str(error).partition(chr(10))[0] or type(error).__name__}"
    return None


async def tracking_faults(pool: AsyncConnectionPool) -> str | None:
    """Whose tracking is out, by its volume."""
    try:
        out = await within(PROBE_SECONDS, _open_outages(pool))
    except Exception:  # that is told of Postgres already
        return "unknown"
    told = [f"account {account_id} since {began_at:%Y-%m-%dT%H:%MZ}" for account_id, began_at in out]
    return f"next to no events of {', '.join(told)}: the risks stand still" if told else None


async def line_faults(redis: Redis) -> tuple[str | None, str | None]:
    """What stands still behind the buffer, and whether a clock is missing."""
    try:
        ledgers, lease = await ask_line(redis)
    except OUTAGE:
        return "unknown", "unknown"
    return stalled(ledgers), None if lease else NO_CLOCK


async def ask_line(redis: Redis) -> tuple[dict[str, Ledger], bool]:
    """The ledgers by lane, and whether a clock is active. Raises OUTAGE."""
    pipeline: Any = redis.pipeline(transaction=False)
    for lane in LANES.values():
        ledger.ask(pipeline, lane)
    pipeline.exists(clock.LEASE)
    async with asyncio.timeout(PROBE_SECONDS):
        *replies, lease = await pipeline.execute()
    return dict(zip(LANES, map(ledger.parsed, replies), strict=True)), bool(lease)


def stalled(ledgers: dict[str, Ledger]) -> str | None:
    """The lanes in which events wait and nothing is stored, in words."""
    still = [
        f"{one.buffered} {name} events wait, and none was stored for {one.stalled_seconds:.0f} seconds"
        for name, one in ledgers.items()
        if one.stalled_seconds
    ]
    return "; ".join(still) or None


async def _open_outages(pool: AsyncConnectionPool) -> list[tuple[int, datetime]]:
    async with pool.connection() as connection:
        rows: list[tuple[int, datetime]] = await (await connection.execute(sql("open_outages"))).fetchall()
    return rows


async def _select(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
