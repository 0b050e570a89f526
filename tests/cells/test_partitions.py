"""Cells whose events and daily counts are partitioned by hash, as the README says, are divided and moved."""

import re

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_growth import reopened
from tests.cells.test_identities import Outcome
from tests.cells.test_line import counted, history
from tests.nursery import ROOT
from workers import growth
from workers.process import Process
from workers.store import connect

PARTITIONED = ("events", "customer_days")
PARTS = 4


def partition(place: Process) -> None:
    """Carry out what the README says in the schema of a cell, for both tables."""
    found = re.search(r"^    BEGIN;\n.*?^    COMMIT;\n", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    block = re.sub(r"--.*", "", found[0])
    (first,) = re.findall(r"CREATE TABLE events_0 [^;]*;", block)
    parts = "\n".join(
        first.replace("events_0", f"events_{n}").replace("REMAINDER 0", f"REMAINDER {n}") for n in range(PARTS)
    )
    connection = place.connection()
    for table in PARTITIONED:
        connection.execute(block.replace(first, parts).replace("events", table).encode())
    place.disconnect()


def parts_of(place: Process, table: str) -> int:
    """The number of partitions of a table."""
    with connect(place.cell) as connection:
        query = "SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass"
        ((parts,),) = connection.execute(query, [table]).fetchall()
    return int(parts)


@pytest.fixture
def worlds(make_world: MakeWorld) -> list[World]:
    """A world of one cell, and one of two that are partitioned, with the same events."""
    worlds = [make_world(cells) for cells in (1, 2)]
    for world in worlds:
        world.track(*history()[:200])
        world.work()
    for place in worlds[1].places:
        partition(place)
        assert [parts_of(place, table) for table in PARTITIONED] == [PARTS, PARTS]
    return worlds


def expect_the_same(one: World, other: World) -> None:
    for world in (one, other):
        for _ in range(3):
            world.work()
    assert Outcome.of(other) == Outcome.of(one)
    other.process.disconnect_all()


def test_partitioned_cells_are_divided_while_events_come_in(worlds: list[World]) -> None:
    """The upper halves have plain tables, which may be partitioned again."""
    one, two = worlds
    for world in worlds:
        world.track(*history()[200:220])  # which wait in the buffers
    four = reopened(two, growth.split(two.settings))
    for world in (one, four):
        world.track(*history()[220:])
    expect_the_same(one, four)
    assert all(counted(four))
    assert [parts_of(place, "events") for place in four.places] == [PARTS, 0, PARTS, 0]
    for place in (four.places[1], four.places[3]):
        partition(place)
    again = history()
    for world in (one, four):
        world.track(*again)
    expect_the_same(one, four)


def test_a_partitioned_cell_is_moved_while_events_come_in(worlds: list[World], make_world: MakeWorld) -> None:
    """It has plain tables on the other server."""
    one, two = worlds
    other = make_world(1)
    for world in worlds:
        world.track(*history()[200:220])
    moved = reopened(two, growth.move(two.settings, 1, other.settings.database_url or ""))
    for world in (one, moved):
        world.track(*history()[220:])
    expect_the_same(one, moved)
    assert [parts_of(place, "events") for place in moved.places] == [PARTS, 0]
