"""How the servers and the line are, asked within a second and answered in words, never in exceptions."""

import asyncio
from typing import Any, NamedTuple

from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from api.timeouts import with_timeout
from workers import heartbeat
from workers.buffer import ledger
from workers.buffer.lanes import LANES
from workers.buffer.ledger import Ledger
from workers.heartbeat import STUCK_SECONDS, Beats
from workers.lease import LEASE
from workers.logs import first_line
from workers.redis import REDIS_AWAY
from workers.store import sql
from workers.tickets import JOBS

PROBE = "windback:probe"
PROBE_SECONDS = 0.9
NO_CLOCK = "no clock holds the lease; start `python -m workers clock`"

COMMANDS = {kind: f"python -m workers {kind}" for kind in JOBS}


class Line(NamedTuple):
    """What Redis knows of the line: the ledgers by lane, whether a clock is active, and what the processes say."""

    ledgers: dict[str, Ledger]
    clock: bool
    beats: Beats


class Stored(NamedTuple):
    """What Postgres knows: whose tracking is out, in words, and for how long the first rescore has been due."""

    tracking: str | None
    due_seconds: float


async def redis_fault(redis: Redis) -> str | None:
    """Why the buffer can't be trusted to Redis now."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await redis.set(PROBE, 1, ex=60)
            policy = (await redis.info("memory")).get("maxmemory_policy")
    except REDIS_AWAY as error:
        return f"Redis doesn't take writes: {str(error) or type(error).__name__}"
    if policy not in (None, "noeviction"):
        return f"Redis may evict the buffer: set its maxmemory-policy to noeviction, not {policy}"
    return None


async def postgres_fault(pool: AsyncConnectionPool) -> str | None:
    """Why nothing can be stored now."""
    try:
        await with_timeout(PROBE_SECONDS, _select(pool))
    except Exception as error:  # whatever it is, it is only reported
        return f"Postgres doesn't answer: {first_line(error)}"
    return None


async def postgres_faults(pool: AsyncConnectionPool) -> Stored:
    """What only Postgres knows: whose tracking is out, by its volume, and for how long rescores have waited."""
    try:
        return await with_timeout(PROBE_SECONDS, _stored(pool))
    except Exception:  # that is told of Postgres already
        return Stored("unknown", 0.0)


async def line_of(redis: Redis) -> Line | None:
    """The line, where Redis answers."""
    pipeline: Any = redis.pipeline(transaction=False)
    for lane in LANES.values():
        ledger.ask(pipeline, lane)
    pipeline.exists(LEASE)
    heartbeat.ask(pipeline)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            *replies, lease, beats = await pipeline.execute()
    except REDIS_AWAY:
        return None
    return Line(dict(zip(LANES, map(ledger.parsed, replies), strict=True)), bool(lease), heartbeat.parsed(beats))


def idle_workers(beats: Beats, due_seconds: float) -> str | None:
    """The processes that are missing or get nothing done, in words."""
    told = list(heartbeat.faults(beats, COMMANDS))
    scorers = heartbeat.of_kind(beats, "score").values()
    scored = min((one.progress_seconds for one in scorers if one.progress_seconds is not None), default=None)
    if scorers and due_seconds >= STUCK_SECONDS and (scored is None or scored >= STUCK_SECONDS):
        told.append(f"rescores have been due for {due_seconds:.0f} seconds, and nobody was scored")
    return "; ".join(told) or None


def stalled(ledgers: dict[str, Ledger]) -> str | None:
    """The lanes in which events wait and nothing is stored, in words."""
    still = [
        f"{one.buffered} {name} events wait, and none was stored for {one.stalled_seconds:.0f} seconds"
        for name, one in ledgers.items()
        if one.stalled_seconds
    ]
    return "; ".join(still) or None


async def _stored(pool: AsyncConnectionPool) -> Stored:
    async with pool.connection() as connection:
        out = await (await connection.execute(sql("open_outages"))).fetchall()
        due = await (await connection.execute(sql("due"), {"limit": 1})).fetchone()
    told = [f"account {account_id} since {began_at:%Y-%m-%dT%H:%MZ}" for account_id, began_at in out]
    tracking = f"next to no events of {', '.join(told)}: the risks stand still" if told else None
    return Stored(tracking, due[1] if due else 0.0)


async def _select(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
