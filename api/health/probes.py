"""Probes of the servers and the line. They answer within a second, in words, never by an exception."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from redis.asyncio import Redis

from api.pool import Pool
from api.timeouts import with_timeout
from workers import heartbeat, installation
from workers.buffer import ledger
from workers.buffer.lanes import LANES, lanes_of
from workers.buffer.ledger import Ledger
from workers.cells import Cell
from workers.heartbeat import STUCK_SECONDS, Beats
from workers.lease import lease_key
from workers.logs import first_line
from workers.persistence import describe_persistence
from workers.redis import PREFIX, REDIS_AWAY
from workers.store import sql
from workers.store.faults import describe_write_fault
from workers.tickets import JOBS

PROBE_SECONDS = 0.9
NO_CLOCK = "no clock holds the lease; start `python -m workers clock`"

COMMANDS = {kind: f"python -m workers {kind}" for kind in JOBS}


class PipelineState(NamedTuple):
    """The line as Redis knows it: the ledgers by lane, whether a clock is active, and the beats of the processes. With
    several cells, `by_cell` has the ledgers of each whose Redis answers; those by lane are their sums."""

    ledgers: dict[str, Ledger]
    clock: bool
    beats: Beats
    by_cell: Mapping[str, Mapping[str, Ledger]] = MappingProxyType({})


class CellState(NamedTuple):
    """The buffer of a cell: the ledgers by lane, and a flag that a clock is active there."""

    ledgers: dict[str, Ledger]
    clock: bool


class StoreState(NamedTuple):
    """The state that Postgres knows: whose tracking is out, in words, and how long the first rescore has been due."""

    tracking: str | None
    due_seconds: float


def probe_key(prefix: str = PREFIX) -> str:
    """A key that is written to see whether Redis takes writes."""
    return f"{prefix}:probe"


async def find_redis_fault(redis: Redis, prefix: str = PREFIX) -> str | None:
    """Returns why the buffer can't be trusted to Redis now, or None. `prefix` is that of the buffer's keys."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await redis.set(probe_key(prefix), 1, ex=60)
            policy = (await redis.info("memory")).get("maxmemory_policy")
    except REDIS_AWAY as error:
        return f"Redis doesn't take writes: {str(error) or type(error).__name__}"
    if policy not in (None, "noeviction"):
        return f"Redis may evict the buffer: set its maxmemory-policy to noeviction, not {policy}"
    return None


async def find_redis_warning(redis: Redis) -> str | None:
    """Returns what should be mended in Redis though events can be taken, or None: it keeps no append-only file."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return describe_persistence(await redis.info("persistence"))
    except REDIS_AWAY:
        return None


async def find_foreign_redis(redis: Redis, pool: Pool, prefix: str = PREFIX) -> str | None:
    """Returns that this Redis belongs to another installation, in words, or None."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            noted: Any = await redis.get(installation.key_of(prefix))
        ours = await with_timeout(PROBE_SECONDS, _find_installation(pool)) if noted else None
    except Exception:  # Redis and Postgres are reported already
        return None
    return installation.FOREIGN if noted and noted.decode() != ours else None


async def find_postgres_fault(pool: Pool) -> str | None:
    """Returns why nothing can be stored now, or None."""
    try:
        return await with_timeout(PROBE_SECONDS, _find_write_fault(pool))
    except Exception as error:  # whatever it is, it is only reported
        return pool.refusal or pool.trouble or f"Postgres doesn't answer: {first_line(error)}"


async def read_store_state(pool: Pool) -> StoreState:
    """Returns what only Postgres knows: whose tracking is out, and how long rescores have waited."""
    try:
        return await with_timeout(PROBE_SECONDS, _read_store(pool))
    except Exception:  # Postgres is reported already
        return StoreState("unknown", 0.0)


async def read_pipeline(home: Redis, buffers: Mapping[Cell, Redis]) -> PipelineState | None:
    """Returns the state of the line, or None if Redis doesn't answer: home's, or that of all cells."""
    beats, states = await asyncio.gather(
        _read_beats(home), asyncio.gather(*(_read_cell(redis, cell) for cell, redis in buffers.items()))
    )
    cells = {cell.name: state for cell, state in zip(buffers, states, strict=True) if state is not None}
    if beats is None or not cells:
        return None
    ledgers = {lane: ledger.merge([state.ledgers[lane] for state in cells.values()]) for lane in LANES}
    by_cell = {name: state.ledgers for name, state in cells.items()} if len(buffers) > 1 else {}
    return PipelineState(ledgers, all(state.clock for state in cells.values()), beats, by_cell)


async def _read_beats(home: Redis) -> Beats | None:
    pipeline: Any = home.pipeline(transaction=False)
    heartbeat.queue_read(pipeline)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return heartbeat.parse((await pipeline.execute())[0])
    except REDIS_AWAY:
        return None


async def _read_cell(redis: Redis, cell: Cell) -> CellState | None:
    pipeline: Any = redis.pipeline(transaction=False)
    lanes = lanes_of(cell)
    for lane in lanes.values():
        ledger.queue_read(pipeline, lane)
    pipeline.exists(lease_key(cell.prefix))
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            *replies, lease = await pipeline.execute()
    except REDIS_AWAY:
        return None
    return CellState(dict(zip(lanes, map(ledger.parse, replies), strict=True)), bool(lease))


def describe_idle_workers(beats: Beats, due_seconds: float) -> str | None:
    """Returns the processes that are missing or get nothing done, in words, or None."""
    faults = list(heartbeat.find_faults(beats, COMMANDS))
    scorers = heartbeat.select_kind(beats, "score").values()
    scored = min((beat.progress_seconds for beat in scorers if beat.progress_seconds is not None), default=None)
    if scorers and due_seconds >= STUCK_SECONDS and (scored is None or scored >= STUCK_SECONDS):
        faults.append(f"rescores have been due for {due_seconds:.0f} seconds, and nobody was scored")
    return "; ".join(faults) or None


def describe_buffer(ledgers: Mapping[str, Ledger], full: str | None) -> str | None:
    """Returns what is wrong with the buffer, in words, or None. `full`: why it takes no more."""
    faults = [*ledger.describe_stalls(ledgers), *([full] if full else [])]
    return "; ".join(faults) or None


async def _read_store(pool: Pool) -> StoreState:
    async with pool.connection() as connection:
        out = await (await connection.execute(sql("open_outages"))).fetchall()
        due = await (await connection.execute(sql("due"), {"limit": 1})).fetchone()
    outages = [f"account {account_id} since {began_at:%Y-%m-%dT%H:%MZ}" for account_id, began_at in out]
    tracking = f"next to no events of {', '.join(outages)}: the risks stand still" if outages else None
    return StoreState(tracking, due[1] if due else 0.0)


async def _find_installation(pool: Pool) -> str:
    async with pool.connection() as connection:
        row = await (await connection.execute(sql("find_installation"))).fetchone()
    return str(row[0]) if row else ""


async def _find_write_fault(pool: Pool) -> str | None:
    async with pool.connection() as connection:
        row = await (await connection.execute(sql("find_write_fault"))).fetchone()
    return describe_write_fault(*row) if row else None
