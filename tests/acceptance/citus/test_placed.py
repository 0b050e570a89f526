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
from workers import citus, growth, retry
from workers.buffer.entries import hash_customer
from workers.cells import cell_of
from workers.store import connect

CELLS = 4
SHARD_OF_EVENTS = """
SELECT shardid FROM pg_dist_shard WHERE logicalrelid = format('%%I.events', %(schema)s::text)::regclass
"""
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a shard says no' USING ERRCODE = 'XX000'; END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON {shard} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()
"""

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


def each_cell(world: World) -> list[str]:
    """An address in each cell."""
    by_cell: dict[int, str] = {}
    for number in range(1000):
        email = f"c{number}@example.com"
        by_cell.setdefault(cell_of(hash_customer(1, email), world.settings.cells), email)
    return [by_cell[number] for number in range(world.settings.cells)]


def refuse_on_shards(world: World, condition: str) -> None:
    """Have the shard of events on each node raise what Citus reports faults of its own by."""
    for place in world.places:
        connection = place.connection()
        ((shard,),) = connection.execute(SHARD_OF_EVENTS, {"schema": place.cell.schema}).fetchall()
        connection.execute("SET citus.enable_ddl_propagation = off")
        connection.execute("SET citus.enable_manual_changes_to_shards = on")
        connection.execute("SET citus.enable_unsafe_triggers = on")
        connection.execute(REFUSE.format(shard=f"{place.cell.schema}.events_{shard}", condition=condition))
        connection.execute("RESET ALL")
        place.disconnect()


def accept_on_shards(world: World) -> None:
    for place in world.places:
        connection = place.connection()
        connection.execute("SET citus.enable_ddl_propagation = off")
        connection.execute("SET citus.enable_manual_changes_to_shards = on")
        connection.execute(f"DROP FUNCTION {place.cell.schema}.refuse CASCADE")
        place.disconnect()


def letters(world: World) -> list[tuple[int, str | None]]:
    """The number and the SQLSTATE of each cell's dead letters."""
    query = "SELECT count(*), min(sqlstate) FROM dead_letters"
    return [(row[0], row[1]) for place in world.places for row in place.connection().execute(query)]


def test_an_event_that_a_shard_refuses_is_buried_alone(make_placed: MakeWorld) -> None:
    """By an error that may be the fault of Citus; then the letters are listed, replayed, and purged."""
    world = make_placed(CELLS)
    refuse_on_shards(world, "NEW.event = 'poison'")
    emails = each_cell(world)
    sent = [
        {"event": name, "customer_email": email} for email in emails for name in ("login", "poison", "report_shared")
    ]
    world.track(*sent)
    world.work()
    assert letters(world) == [(1, "XX000")] * CELLS
    assert [count(place.connection(), "events") for place in world.places] == [2] * CELLS
    run = command_line(world)
    listed = run("dead-letters list")
    assert (listed.exit_code, "4" in listed.stdout) == (0, True), listed.output
    failed = run("dead-letters replay")
    assert (failed.exit_code, f"{CELLS} failed again" in failed.stderr) == (1, True), failed.output
    accept_on_shards(world)
    replayed = run("dead-letters replay")
    assert (replayed.exit_code, replayed.stdout[:10]) == (0, f"{CELLS} replayed"), replayed.output
    assert [count(place.connection(), "events") for place in world.places] == [3] * CELLS
    refuse_on_shards(world, "NEW.event = 'poison'")
    world.track(*({"event": "poison", "customer_email": email} for email in emails))
    world.work()
    purged = run("dead-letters purge --yes")
    assert (purged.exit_code, purged.stdout) == (0, f"{CELLS} deleted\n"), purged.output
    assert [count(place.connection(), "dead_letters") for place in world.places] == [0] * CELLS


def test_shards_that_refuse_all_events_bury_none(make_placed: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait, and are stored when the fault is mended."""
    monkeypatch.setattr(retry, "RETRY_CELL_SECONDS", 0)
    world = make_placed(2)
    refuse_on_shards(world, "true")
    world.track(*({"event": "login", "customer_email": email} for email in each_cell(world)))
    world.work()
    assert letters(world) == [(0, None)] * 2
    assert [count(place.connection(), "events") for place in world.places] == [0, 0]
    accept_on_shards(world)
    world.work()
    assert [count(place.connection(), "events") for place in world.places] == [1, 1]


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
