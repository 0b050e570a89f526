"""Follows an import through the line, until all of it is stored, and its customers are scored."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from api.health.probes import read_pipeline
from api.imports.beat import ImportBeat
from api.imports.state import FileImport
from api.track.door import Door
from workers.cells import Cell
from workers.store import only_row, presence, sql
from workers.store.faults import is_unavailable

PAUSE_SECONDS = 0.5
DRIFT_SECONDS = 1.0  # by which Redis's clock and ours may differ in the time since


async def follow(door: Door, cells: Sequence[Cell], state: FileImport, beat: ImportBeat) -> None:
    """Return when everything is stored and scored. Raises Stopped."""
    state.stage, sent_at = "storing", time.monotonic()
    while (left := await _count_buffered(door, sent_at)) != 0:
        state.left = left or state.left
        await _rest(beat)
    state.stage, stored_at = "scoring", datetime.now(UTC)
    while (left := await asyncio.to_thread(_count_unscored, cells, state.account_id, stored_at)) != 0:
        state.left = left or state.left
        await _rest(beat)
    state.left = 0


async def _rest(beat: ImportBeat) -> None:
    await beat.tick()
    await asyncio.sleep(PAUSE_SECONDS)


async def _count_buffered(door: Door, sent_at: float) -> int | None:
    """Returns how many events wait to be stored that came before; None: Redis is away."""
    age = time.monotonic() - sent_at  # taken first: by the time of the answer, an event sent a moment ago is older
    pipeline = await read_pipeline(door.redis, door.buffers.by_cell)
    if pipeline is None:
        return None
    return sum(ledger.buffered for ledger in pipeline.ledgers.values() if ledger.oldest_seconds >= age - DRIFT_SECONDS)


def _count_unscored(cells: Sequence[Cell], account_id: int, stored_at: datetime) -> int | None:
    """Returns how many customers are due since then; None: Postgres is away."""
    customers = 0
    try:
        for cell in cells:
            with presence.reading(cell) as connection:
                parameters = {"account_id": account_id, "stored_at": stored_at}
                customers += only_row(connection.execute(sql("count_unscored"), parameters))[0]
    except psycopg.Error as error:
        if not is_unavailable(error):
            raise
        return None
    return customers
