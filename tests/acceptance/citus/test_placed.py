"""Placed cells on several nodes answer as a single cell does, are divided, and are moved by the command."""

import os

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import differences
from tests.cells.test_commands import command_line
from tests.cells.test_growth import reopened
from tests.cells.test_identities import Outcome, tell_the_story
from tests.cells.test_line import counted, history
from tests.cells.test_reading import Moment, tell
from tests.cells.test_reading import moment as moment
from tests.workers.events import count
from workers import citus, growth
from workers.store import connect

CELLS = 4

pytestmark = [
    pytest.mark.skipif(
        not {"CITUS_URL", "CITUS_NODES"} <= os.environ.keys(),
        reason="CITUS_URL and CITUS_NODES name no cluster of Citus, and no registry has Citus to start",
    ),
    pytest.mark.timeout(1200),
]


def ports_of(world: World) -> list[int]:
    """The port of the node that the connections of each cell lead to."""
    ports = []
    for cell in world.settings.all_cells:
        assert citus.is_placed(cell)
        with connect(cell) as connection:
            ports.append(connection.info.port)
    return ports


def test_placed_cells_answer_as_one_does(make_placed: MakeWorld, moment: Moment) -> None:
    """All lists, answers and pages, those about companies among them."""
    one, four = (tell(make_placed(cells, rescore_seconds=0.0), moment) for cells in (1, CELLS))
    assert len({*ports_of(four)}) > 1
    assert not (different := differences(one, four)), "\n".join(different)


def test_identities_over_placed_cells_come_out_as_in_a_single_one(make_placed: MakeWorld) -> None:
    one, four = (tell_the_story(make_placed(cells)) for cells in (1, CELLS))
    assert Outcome.of(four) == Outcome.of(one)


def test_dead_letters_of_placed_cells_are_listed_replayed_and_purged(make_placed: MakeWorld) -> None:
    world = make_placed(CELLS)
    for place in world.places:
        place.connection().execute(
            "INSERT INTO dead_letters (customer_id, dead_letter_id, reason, fingerprint, received_at, lane, body)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), '22P02', 'a', now(), 'live', %s)",
            [b"no entry"],
        )
    run = command_line(world)
    listed = run("dead-letters list")
    assert (listed.exit_code, "4" in listed.stdout) == (0, True), listed.output
    assert run("dead-letters replay").exit_code == 0
    assert run("dead-letters purge --yes").exit_code == 0
    assert [count(place.connection(), "dead_letters") for place in world.places] == [0] * CELLS


def test_placed_cells_are_divided(make_placed: MakeWorld) -> None:
    """Each half stays on the node of the whole, placed as well. Events that wait are stored."""
    events = history()
    sent = list(events)
    third = len(sent) // 3
    one, two = make_placed(1), make_placed(2)
    for world in (one, two):
        world.track(*sent[: 2 * third])
        world.work()
    before = ports_of(two)
    two.track(*sent[third : 2 * third + 50])
    four = reopened(two, growth.split(two.settings))
    four.track(*sent[2 * third :])
    one.track(*sent[third:])
    for world in (one, four):
        for _ in range(3):
            world.work()
    assert ports_of(four) == [port for port in before for _ in range(2)]
    assert all(counted(four))
    assert Outcome.of(four) == Outcome.of(one)
    four.process.disconnect_all()


def test_the_command_moves_a_placed_cell(make_placed: MakeWorld, nodes: list[tuple[str, int]]) -> None:
    world = make_placed(2)
    world.track(*history())
    world.work()
    before, ports = Outcome.of(world), ports_of(world)
    host, port = next(node for node in nodes if node[1] != ports[0])
    moved = command_line(world)(
        f"cells move 0 --to postgresql://{host}:{port}/{world.process.connection().info.dbname}"
    )
    assert moved.exit_code == 0, moved.output
    assert ports_of(world) == [port, ports[1]]
    world.work()
    assert Outcome.of(world) == before
