"""Reading over connections that are kept: nothing that happens to them in between is seen in an answer."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.pool import Pool
from tests.cells.conftest import MakeWorld, World, make_world
from tests.cells.test_line import history
from workers.store import connect

__all__ = ["make_world"]  # a fixture

LIST = "/api/v1/customers?limit=1000"


def _list_emails(client: TestClient, query: str = "") -> list[str]:
    answer = client.get(LIST + query)
    assert answer.status_code == 200, answer.text
    return sorted(row["email"] for row in answer.json()["customers"])


@pytest.mark.parametrize("cells", [1, 2])
def test_a_column_that_changes_its_type_is_read_on(make_world: MakeWorld, cells: int) -> None:
    """The statements that are prepared expect the type of before."""
    world = make_world(cells)
    world.track(*history())
    world.work()
    before = _list_emails(world.client)
    assert before
    for cell in world.settings.all_cells:
        with connect(cell) as connection:
            connection.execute("ALTER TABLE customers ALTER COLUMN nps TYPE bigint")
    for _ in range(2):
        assert _list_emails(world.client) == before


@pytest.mark.parametrize("cells", [1, 2])
def test_connections_that_have_ended_are_replaced(make_world: MakeWorld, cells: int) -> None:
    world = make_world(cells)
    world.track(*history())
    world.work()
    before = _list_emails(world.client)
    with connect(world.settings.home) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert ended
    assert ended[0] > 0
    assert _list_emails(world.client) == before


PLANS = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE strpos(statement, %s) > 0"


def _count_plans(world: World, part: str) -> tuple[int, int]:
    """How often a plan that was kept, and one that was made anew, served the statements with this part, over all
    connections: a request that comes before the first one is open opens another."""
    app: Any = world.client.app
    (source,) = app.state.sources.of_cells

    async def read(pool: Pool) -> list[tuple[int, int]]:
        async with AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(pool.connection()) for _ in range(pool.get_stats()["pool_size"])
            ]
            return [row for each in connections for row in await (await each.execute(PLANS, [part])).fetchall()]

    assert world.client.portal
    rows = [row for pool in (source.pool, source.keeping) for row in world.client.portal.call(read, pool)]
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def test_the_plan_of_a_list_is_kept_unless_it_depends_on_the_filter(make_world: MakeWorld) -> None:
    world = make_world(2)
    for _ in range(2):
        for address in ("", "&email=c1", "&email=d"):
            _list_emails(world.client, address)
    assert _count_plans(world, "email LIKE NULL") == (2, 0)
    assert _count_plans(world, "email LIKE $") == (0, 4)
