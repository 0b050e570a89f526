"""Comparisons over time hold nothing that only the model moved."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from api.pool import Pool
from api.reading.comparisons import read_levels_then, read_model_changes, read_renewal
from api.reading.sources import Sources
from tests.workers.risk.test_renewal import MEANS, add_model, scored
from workers.accounts import renewals
from workers.cells import Cell
from workers.risk import renewal
from workers.store import Connection

__all__ = ["scored"]  # a fixture


def read(database_url: str, reader: Any, *parameters: Any) -> Any:
    """The answer that a page would read."""

    async def run() -> Any:
        async with Pool(Cell(database_url, "")) as pool:
            request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(sources=Sources(pool, [pool]))))
            return await reader(cast(Request, request), *parameters)

    return asyncio.run(run())


@pytest.mark.usefixtures("scored")
def test_levels_of_a_week_ago_are_the_new_models_after_a_switch(
    connection: Connection, database_url: str, scored: int
) -> None:
    week_ago = datetime.now(UTC) - timedelta(days=7)
    assert read(database_url, read_levels_then, scored, week_ago) is None
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    assert read(database_url, read_renewal, scored) == (0, 0)
    renewal.run(connection, MEANS, scored)
    restated = read(database_url, read_levels_then, scored, datetime.now(UTC) - timedelta(days=7))
    assert sum(restated.values()) > 100
    (change,) = read(database_url, read_model_changes, scored, week_ago)
    assert (change.model_before, change.model, change.because) == ("prior-1", "map-1", "model")
    now = read(database_url, read_levels_then, scored, datetime.now(UTC) + timedelta(seconds=1))
    assert sum(now.values()) == 120
    assert read(database_url, read_renewal, scored) is None
