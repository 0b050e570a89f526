"""Reading over connections that are kept: nothing that happens to them in between is seen in an answer."""

import pytest
from starlette.testclient import TestClient

from tests.cells.conftest import MakeWorld, make_world
from tests.cells.test_line import history
from workers.store import connect

__all__ = ["make_world"]  # a fixture

LIST = "/api/v1/customers?limit=1000"


def _list_emails(client: TestClient) -> list[str]:
    answer = client.get(LIST)
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
