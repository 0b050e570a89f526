"""Dividing and moving cells, with events on their way: before and after are the same."""

import pytest

from tests.cells.conftest import MakeWorld, World, set_up
from tests.cells.test_identities import customers, totals
from tests.cells.test_line import counted, history
from tests.workers.events import count
from workers import growth
from workers.cells import cell_of
from workers.heartbeat import BEAT, WORKERS
from workers.placement import Misplaced
from workers.process import Process
from workers.settings import Settings


def reopened(world: World, settings: Settings) -> World:
    """The same world, whose workers have other settings; its doors go on."""
    world.process.disconnect_all()
    process = Process(settings, world.redis)
    set_up(process)
    return world._replace(settings=settings, process=process)


def test_cells_are_divided_while_events_come_in(make_world: MakeWorld) -> None:
    events = history()
    third = len(events) // 3
    one, two = make_world(1), make_world(2)
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
    assert len(counted(four)) == 4
    assert all(counted(four))
    assert customers(four) == customers(one)
    assert totals(four) == totals(one)
    for number, place in enumerate(four.places):
        rows = place.connection().execute("SELECT customer_id::text FROM customers").fetchall()
        assert {cell_of(customer_id, 4) for (customer_id,) in rows} == {number}
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


def test_settings_of_before_are_refused_by_workers(make_world: MakeWorld) -> None:
    world = make_world(2)
    after = growth.split(world.settings)
    stale = Process(world.settings, world.redis)
    with pytest.raises(Misplaced, match="has 4 cells, and WINDBACK_CELLS is 2"):
        stale.at(0).check_installation()
    stale.disconnect_all()
    assert after.cells == 4


def test_nothing_is_divided_while_workers_run(make_world: MakeWorld) -> None:
    world = make_world(2)
    beat = b'{"kind":"ingest","up_seconds":1,"busy_seconds":null,"progress_seconds":null}'
    world.redis.eval(BEAT, 1, WORKERS, "a worker", beat)
    with pytest.raises(growth.StillWorking, match="ingest still runs"):
        growth.refuse_while_working(world.redis)
