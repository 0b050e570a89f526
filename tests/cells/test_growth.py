"""Dividing and moving cells, with events on their way: before and after are the same."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import psycopg
import pytest

from api import pool
from api.up.embedded import Servers
from tests.cells.conftest import MakeWorld, World, set_up
from tests.cells.test_identities import PEOPLE, customers, identify, logins, totals
from tests.cells.test_line import counted, history
from tests.cells.test_lodging import read_ledger
from tests.waiting import wait_until
from tests.workers.events import count
from workers import clock, growth, installation, placement
from workers.buffer.lanes import LIVE
from workers.buffer.stream import Reader
from workers.cells import cell_of
from workers.ingest import ingest
from workers.ingest.batches import decode_batch
from workers.ingest.transaction import store_batch
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection, connect, presence, sql
from workers.store.presence import CellTaken
from workers.upkeep import totals as totals_of

BEFORE = [1, 2]  # cells: a single one is at home, and leaves it


def reopened(world: World, settings: Settings) -> World:
    """The same world, whose workers have other settings; its doors go on."""
    world.process.disconnect_all()
    process = Process(settings, world.redis)
    set_up(process)
    return world._replace(settings=settings, process=process)


@pytest.mark.parametrize("cells", BEFORE)
def test_cells_are_divided_while_events_come_in(make_world: MakeWorld, cells: int) -> None:
    events = history()
    third = len(events) // 3
    one, two = make_world(1), make_world(cells)
    for world in (one, two):
        world.track(*events[: 2 * third])
        world.work()
    two.track(*events[third : 2 * third + 50])  # these wait in the buffers, some of them again
    four = reopened(two, growth.split(two.settings))
    four.track(*events[2 * third :])  # by doors of before
    one.track(*events[third:])
    for world in (one, four):
        for _ in range(3):
            world.work()
    assert len(counted(four)) == 2 * cells
    assert all(counted(four))
    assert customers(four) == customers(one)
    assert totals(four) == totals(one)
    for number, place in enumerate(four.places):
        rows = place.connection().execute("SELECT customer_id::text FROM customers").fetchall()
        assert {cell_of(customer_id, 2 * cells) for (customer_id,) in rows} == {number}
        assert count(place.connection(), "customer_search") == len(rows)
    four.process.disconnect_all()


def test_a_cell_is_moved_to_another_server(make_world: MakeWorld) -> None:
    events = history()
    world, other = make_world(2), make_world(1)
    world.track(*events[:200])
    world.work()
    before = customers(world)
    world.track(*events[200:220])
    moved = reopened(world, growth.move(world.settings, 1, other.settings.database_url or ""))
    assert moved.settings.all_cells[1].database_url == other.settings.database_url
    moved.work()
    after = customers(moved)
    assert before.keys() <= after.keys()
    assert sum(counted(moved)) == 220
    moved.process.disconnect_all()


@pytest.mark.parametrize("cells", BEFORE)
def test_processes_take_the_new_number_over(make_world: MakeWorld, cells: int) -> None:
    """Workers at their next job, doors within seconds; no session of before works on the tables of after."""
    world = make_world(cells)
    world.track(*history())
    world.work()
    before = customers(world)
    stale = [place.connection() for place in world.places]
    after = growth.split(world.settings)
    assert all(map(_is_ended, stale))
    with pytest.raises(
        CellTaken, match=r"are those of cell 000 of 4, and WINDBACK_CELLS is 2|has 2 cells, and WINDBACK_CELLS is 1"
    ):
        presence.enter(world.settings.all_cells[0])
    assert world.process.follow()
    assert world.process.settings == after
    four = world._replace(settings=after)
    assert customers(four) == before
    app: Any = world.client.app
    wait_until(lambda: len(app.state.pools) == 2 * cells)
    listed = world.client.get("/api/v1/customers", params={"limit": 1000}).json()["customers"]
    assert len(listed) == len(before)
    four.track(*history())
    four.work()
    assert customers(four) == before


def _is_ended(connection: Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


@pytest.fixture
def empty_database(all_servers: Servers) -> Iterator[str]:
    """The URL of a database without a table."""
    with connect(all_servers.database_url) as connection:
        connection.execute("CREATE DATABASE cells_alone TEMPLATE template0 STRATEGY file_copy")
        yield all_servers.database_url.replace("/postgres?", "/cells_alone?")
        connection.execute("DROP DATABASE cells_alone WITH (FORCE)")


def test_an_interrupted_split_goes_on(make_world: MakeWorld, empty_database: str) -> None:
    """Two databases, of which one is divided before the command ends: its cells wait, the other's go on. That one has
    nothing but its cells."""
    world = make_world(2)
    moved = growth.move(world.settings, 1, empty_database)
    world = reopened(world, moved)
    world.track(*history())
    world.work()
    before = customers(world)
    world.process.disconnect_all()
    after = placement.double(moved)
    with ExitStack() as stack, connect(moved.home) as home:
        growth._split_database(stack, moved.all_cells[:1], after, placement.list_noted(home))
    world.track(*history(80))
    with pytest.raises(CellTaken, match="run it again"):
        presence.enter(moved.all_cells[0])
    ingest.drain(world.process.at(1), LIVE)
    four = reopened(world, growth.split(moved))
    assert growth.split(moved) == four.settings  # once more: it is done
    for _ in range(3):
        four.work()
    assert before.keys() < customers(four).keys()
    one = make_world(1)
    one.track(*history(), *history(80))
    one.work()
    assert customers(four) == customers(one)
    assert totals(four) == totals(one)
    assert sum(counted(four)) == sum(counted(one))
    four.process.disconnect_all()


def test_an_interrupted_move_is_done_again(make_world: MakeWorld) -> None:
    """The copy was there, and the cell went on where it was: what came since is not lost."""
    world, other = make_world(2), make_world(1)
    url = other.settings.database_url or ""
    world.track(*history()[:100])
    world.work()
    there = world.settings.all_cells[1]._replace(database_url=url)
    noted = installation.find_id(world.places[1].connection())
    growth._copy_cell(world.settings.all_cells[1], there, noted)
    world.track(*history()[100:])
    world.work()
    before = customers(world)
    moved = growth.move(world.settings, 1, url)
    assert growth.move(world.settings, 1, url) == moved  # once more: it is done
    with pytest.raises(CellTaken, match="cell 001 was moved"):
        presence.enter(world.settings.all_cells[1])
    world = reopened(world, moved)
    assert customers(world) == before
    world.process.disconnect_all()


def test_a_cell_is_moved_there_and_back_again_and_again(make_world: MakeWorld) -> None:
    """The old tables of each move stay, under names of their own."""
    world, other = make_world(2), make_world(1)
    here, there = world.settings.database_url or "", other.settings.database_url or ""
    world.track(*history())
    world.work()
    before = customers(world)
    for url in (there, here, there):
        world = reopened(world, growth.move(world.settings, 1, url))
        assert customers(world) == before
    with connect(here) as connection:
        assert _list_moved(connection) == ["cell_001_moved", "cell_001_moved_2"]
    with connect(there) as connection:
        assert _list_moved(connection) == ["cell_001_moved"]
    world.process.disconnect_all()


def _list_moved(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cell%moved%' ORDER BY nspname")
    return [name for (name,) in rows]


@pytest.mark.parametrize("cells", BEFORE)
def test_what_was_stored_and_not_acknowledged_stays_in_the_ledger(make_world: MakeWorld, cells: int) -> None:
    """Of a worker that died in between there are receipts; after the split they would be another cell's."""
    world = make_world(cells)
    world.track(*history())
    for place in world.places:
        for lane in place.lanes.values():
            reader = Reader(place.redis, lane, "dead")
            while entries := reader.read_left_over(60, 1) or reader.read(5000, 0):
                store_batch(place.connection(), lane, decode_batch(entries), 5.0)
                break
    four = reopened(world, growth.split(world.settings))
    four.work()
    after = read_ledger(four)
    assert (after.stored, after.duplicate, after.unaccounted, after.buffered) == (sum(counted(four)), 0, 0, 0)
    four.process.disconnect_all()


@pytest.mark.parametrize("cells", BEFORE)
def test_identities_that_wait_reach_their_cells(make_world: MakeWorld, cells: int) -> None:
    """After the split, entries of the doors from before stand in other cells' buffers."""
    one, two = make_world(1), make_world(cells)
    for world in (one, two):
        for person in range(PEOPLE):
            identify(world, user_id=f"user-{person}", customer_email=f"p{person}@example.com", traits={"name": "Jo"})
            world.track(*logins(person))
    four = reopened(two, growth.split(two.settings))
    for world in (one, four):
        for _ in range(3):
            world.work()
    assert customers(four) == customers(one)
    assert sum(count(place.connection(), "unresolved_events") for place in four.places) == 0
    four.process.disconnect_all()


@pytest.mark.parametrize("cells", BEFORE)
def test_an_erased_customer_stays_erased_through_a_split(make_world: MakeWorld, cells: int) -> None:
    world = make_world(cells)
    world.track(*history())
    for person in range(60):
        assert world.client.delete(f"/api/v1/customers/c{person}@example.com").status_code == 202
    four = reopened(world, growth.split(world.settings))
    for _ in range(2):
        four.work()
    assert sum(counted(four)) == 0
    assert read_ledger(four).unaccounted == 0
    four.process.disconnect_all()


def count_levels(world: World) -> Counter[Any]:
    """How many customers came to each level on each day, or left it."""
    moved: Counter[Any] = Counter()
    for place in world.places:
        for day, level, n in place.connection().execute("SELECT day, level, customers FROM risk_moves"):
            moved[day, level] += n
    return Counter({at: n for at, n in moved.items() if n})


@pytest.mark.parametrize("cells", BEFORE)
def test_levels_stay_as_they_were_counted_when_cells_are_divided(make_world: MakeWorld, cells: int) -> None:
    """From the first moment, and when the totals are counted anew; of risks that are pruned by now, too."""
    world = make_world(cells)
    world.track(*history())
    world.work()
    for place in world.places:
        place.connection().execute("DELETE FROM risk_history WHERE customer_id::text < '3' OR customer_id::text > 'c'")
    before = count_levels(world)
    assert sum(before.values()) == 60
    four = reopened(world, growth.split(world.settings))
    assert count_levels(four) == before
    for _ in range(2):
        for place in four.places:
            assert place.connection().execute(sql("repair_levels")).rowcount == 0
            totals_of.tally(place.connection())
    assert count_levels(four) == before
    four.process.disconnect_all()


def alerting_since(world: World) -> list[Any]:
    """Since when each cell is known to be in use, after its clock has noted it."""
    for place in world.places:
        clock.note_alerting(place)
    return [place.connection().execute(sql("alerting_since")).fetchone() for place in world.places]


def test_cells_that_were_divided_or_moved_go_on_to_alert(make_world: MakeWorld) -> None:
    """They are copies, but nobody has restored them: what rose before rises as well."""
    world, other = make_world(2), make_world(1)
    before = alerting_since(world)
    four = reopened(world, growth.split(world.settings))
    assert alerting_since(four) == 2 * before
    moved = reopened(four, growth.move(four.settings, 1, other.settings.database_url or ""))
    assert alerting_since(moved) == 2 * before
    moved.process.disconnect_all()


def test_a_list_that_was_read_while_a_cell_was_divided_is_refused(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement was prepared for whole cells, and waited for the halves that it read then."""
    world = make_world(2)
    world.track(*history())
    world.work()
    whole = world.client.get("/api/v1/customers", params={"limit": 1000}).json()["customers"]
    connect_in = pool.Pool.connection
    connected: list[str] = []

    @asynccontextmanager
    async def connect_and_divide(self: pool.Pool) -> AsyncIterator[Any]:
        async with connect_in(self) as connection:
            connected.append(self.place.name)
            if len(connected) == 1:
                growth.split(world.settings)
            yield connection

    monkeypatch.setattr(pool.Pool, "connection", connect_and_divide)
    listed = world.client.get("/api/v1/customers", params={"limit": 1000})
    assert listed.status_code == 503, listed.json()
    assert "cell 000 is not available" in listed.text
    assert connected == ["home"]
    wait_until(lambda: world.client.get("/api/v1/customers", params={"limit": 1000}).status_code == 200)
    again = world.client.get("/api/v1/customers", params={"limit": 1000}).json()["customers"]
    assert [row["email"] for row in again] == [row["email"] for row in whole]


@pytest.mark.parametrize("cells", BEFORE)
def test_a_door_that_follows_a_split_keeps_the_connections_of_now(make_world: MakeWorld, cells: int) -> None:
    """Those to the cells before are closed."""
    world = make_world(cells)
    state = world.client.app.state  # type: ignore[attr-defined]
    before = list(state.pools)
    growth.split(world.settings)
    wait_until(lambda: len(state.pools) == 2 * cells)
    wait_until(lambda: any(each.closed for each in [*before, *state.pools]))
    wait_until(lambda: all(each.closed for each in before))
    assert not any(each.closed for each in state.pools)
    assert world.client.get("/readyz").json()["detail"]["postgres"] == "ok"
