"""Commands, and the long tally of a worker, whose settings are from before a cell was divided or moved: they name what
they can't reach, and count or change no other tables in its place."""

from collections.abc import Callable

import pytest

from api.imports import following
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_commands import command_line
from tests.cells.test_line import NOW, history
from tests.workers.events import count
from workers import growth, placement
from workers.store import connect, presence
from workers.upkeep import totals

CELLS = 2


def move(world: World, other: World) -> None:
    growth.move(world.settings, 1, other.settings.database_url or "")


def split(world: World, _: World) -> None:
    growth.split(world.settings)


@pytest.fixture(params=[move, split])
def stale(request: pytest.FixtureRequest, make_world: MakeWorld) -> World:
    """A world whose settings lead to other tables than those of its cells."""
    world, other = make_world(CELLS), make_world(1)
    world.track(*history())
    world.work()
    change: Callable[[World, World], None] = request.param
    change(world, other)
    return world


@pytest.mark.parametrize("line", ["list", "purge --yes", "replay"])
def test_dead_letters_of_a_cell_that_is_being_divided_are_left_alone(make_world: MakeWorld, line: str) -> None:
    world = make_world(CELLS)
    connection = world.places[1].connection()
    connection.execute(
        "INSERT INTO dead_letters (customer_id, dead_letter_id, reason, fingerprint, received_at, lane, body)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), 'poison', 'a', now(), 'live', '')"
    )
    world.process.disconnect_all()
    with connect(world.settings.home) as holder:
        presence.seize(holder, "cell_001")
        result = command_line(world)(f"dead-letters {line}")
    assert result.exit_code == 1, result.output
    assert "cell 001 is being divided or moved" in result.output
    with connect(world.settings.home.database_url) as looking:
        assert looking.execute("SELECT count(*) FROM cell_001.dead_letters").fetchone() == (1,)


def test_customers_of_cells_elsewhere_are_not_counted(stale: World) -> None:
    command = command_line(stale)
    listed, state = command("cells status").output, command("status").output
    if placement.count_cells(stale.settings) > CELLS:
        fault = "this installation has 4 cells, and WINDBACK_CELLS is 2; set it to 4"
        assert (fault in listed, fault in state) == (True, True), listed + state
    else:
        row = next(line for line in listed.splitlines() if line.startswith("001"))
        assert row.split()[1] == "?", listed
        assert "cell 001" in state


def test_customers_who_wait_for_a_score_elsewhere_are_not_taken_for_none(stale: World) -> None:
    assert following._count_unscored(stale.settings.all_cells, 1, NOW) is None


def test_a_long_tally_counts_no_other_tables(stale: World) -> None:
    with connect(stale.settings.home) as home:
        before = count(home, "tallied")
        totals._tally_long(stale.places[1])
        assert count(home, "tallied") == before
    with connect(stale.settings.home.database_url) as connection:
        halves = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'cell_001'").fetchall()
        for (schema,) in halves:
            assert connection.execute(f"SELECT count(*) FROM {schema}.tallied").fetchone() == (0,)
