"""A single cell that is divided: it leaves home, with all that is on its way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import ANSWERS, LISTS, PAGES, compare, read, sign_in
from tests.cells.test_growth import reopened
from tests.cells.test_identities import customers
from tests.cells.test_line import history
from tests.cells.test_lodging import Valkey, read_ledger
from tests.cells.test_lodging import valkeys as valkeys
from tests.cells.test_placement import doors
from tests.waiting import wait_until
from tests.workers.events import count
from workers import growth, jobs, placement
from workers.accounts import renewals
from workers.buffer.arrivals import find_arrivals
from workers.buffer.lanes import LANES
from workers.ingest import handover
from workers.placement import Misplaced
from workers.store import connect, presence
from workers.store.home import EVERYWHERE, HOME
from workers.store.presence import CellTaken


def old_events(number: int) -> list[dict[str, Any]]:
    """Events of last year, which take the lane of imports."""
    began = datetime.now(UTC) - timedelta(days=300)
    return [
        {
            "event": "login",
            "customer_email": f"old{n % 7}@example.com",
            "timestamp": (began + timedelta(hours=n)).isoformat(),
        }
        for n in range(number)
    ]


def test_the_buffer_of_the_single_cell_is_taken_over(make_world: MakeWorld) -> None:
    """Live events and imports that wait, and what doors write until they know of the cells; the ledger adds up."""
    world = make_world(1)
    world.track(*history()[:200])
    world.work()
    world.track(*history()[200:])
    world.track(*old_events(250))
    before = read_ledger(world)
    two = reopened(world, growth.split(world.settings))
    first = two.process.at(0)
    handover.take_over(first)
    after = read_ledger(two)
    assert after == before._replace(oldest_seconds=after.oldest_seconds, settled_seconds=after.settled_seconds)
    assert find_arrivals(first.redis, lanes=first.lanes).account_ids == {1}
    world.track(*old_events(20), *history()[:20])  # by doors of before, for a moment
    for _ in range(3):
        two.work()
    after = read_ledger(two)
    assert (after.buffered, after.unaccounted) == (0, 0)
    assert after.accepted == len(history()) + 250 + 40
    assert not any(two.redis.exists(lane.stream, lane.ledger, lane.outcomes) for lane in LANES.values())
    two.process.disconnect_all()


def test_counts_of_events_move_with_the_last_entry(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.track(*history())
    world.work()
    stored = ledger_of(world)
    two = reopened(world, growth.split(world.settings))
    handover.take_over(two.process.at(0))
    assert ledger_of(two) == stored
    handover.take_over(two.process.at(0))  # there is nothing left
    assert ledger_of(two) == stored
    two.process.disconnect_all()


def ledger_of(world: World) -> tuple[int, int, int]:
    """What was accepted, and stored, and is missing, in all cells."""
    total = read_ledger(world)
    return total.accepted, total.stored, total.unaccounted


def test_every_answer_is_that_of_the_single_cell(make_world: MakeWorld) -> None:
    """Pages and routes, of doors that follow by themselves."""
    world = make_world(1)
    world.track(*history())
    world.work()
    sign_in(world)
    paths = [*LISTS, *ANSWERS]
    before = {path: read(world, path) for path in paths}
    pages = {path: read(world, path)[0] for path in PAGES}
    two = reopened(world, growth.split(world.settings))
    two.work()
    wait_until(lambda: len(world.client.app.state.pools) == 2)  # type: ignore[attr-defined]
    after = {path: read(world, path) for path in paths}
    different = {path: compare(before[path], after[path]) for path in paths if before[path] != after[path]}
    assert not different, different
    assert {path: read(world, path)[0] for path in PAGES} == pages
    assert world.client.get("/readyz").status_code == 200
    two.process.disconnect_all()


def test_home_keeps_what_belongs_to_accounts(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.track(*history())
    world.work()
    with connect(world.settings.home) as home:
        before = {table: count(home, table) for table in HOME}
    growth.split(world.settings)
    with connect(world.settings.home) as home:
        tables = [
            name
            for (name,) in home.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            ).fetchall()
        ]
        after = {table: count(home, table) for table in tables}
    assert {table: after[table] for table in HOME} == before | {"cells": 2}
    assert {table for table, rows in after.items() if rows} <= HOME | EVERYWHERE
    world.process.disconnect_all()


def test_a_model_that_is_about_to_be_used_is_used_after_all(make_world: MakeWorld) -> None:
    """Home would take the switch of its cells back."""
    world = make_world(1)
    world.track(*history())
    world.work()
    connection = world.process.connection()
    connection.execute(
        "INSERT INTO models (account_id, version, kind, weights, card)"
        " SELECT account_id, 7, 'map', '{}', '{}' FROM accounts LIMIT 1"
    )
    (account_id,) = connection.execute("SELECT account_id FROM models").fetchone() or ()
    renewals.request_switch(connection, account_id, 7)
    two = growth.split(world.settings)
    for place in (two.home, *two.all_cells):
        with connect(place) as there:
            assert renewals.awaits_switch(there, account_id)


def test_a_single_cell_is_not_divided_over_other_cells(make_world: MakeWorld) -> None:
    world = make_world(1)
    with connect(world.settings.home) as home:
        home.execute("CREATE SCHEMA cell_001")
    with pytest.raises(Misplaced, match="schema cell_001 is in the way in the database of home"):
        growth.split(world.settings)
    world.track(*history())
    world.work()
    assert len(customers(world)) == 60


def test_other_tables_beside_those_of_the_single_cell_stay(make_world: MakeWorld) -> None:
    """Of an application that shares the schema; nobody waits for its locks."""
    world = make_world(1)
    world.track(*history())
    world.work()
    with connect(world.settings.home) as home, connect(world.settings.home) as other:
        home.execute("CREATE TABLE orders (customer_id uuid)")
        with other.transaction():
            other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            growth.split(world.settings)
        assert home.execute("SELECT to_regclass('orders') IS NOT NULL").fetchone() == (True,)


def test_partitions_leave_with_their_table(make_world: MakeWorld) -> None:
    world = make_world(1)
    partition(world, "events")
    world.track(*history())
    world.work()
    before = customers(world)
    two = reopened(world, growth.split(world.settings))
    two.work()
    assert customers(two) == before
    with connect(two.settings.all_cells[0]) as connection:
        schemas = connection.execute(
            "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^events_[01]$'"
        ).fetchall()
    assert schemas == [("cell_000",)]
    two.process.disconnect_all()


def partition(world: World, table: str) -> None:
    """Divide a table of the single cell by hash, as the README says."""
    with connect(world.settings.home) as home, home.transaction():
        home.execute(f"ALTER INDEX {table}_pkey RENAME TO {table}_plain_pkey")
        home.execute(f"ALTER TABLE {table} RENAME TO {table}_plain")
        home.execute(f"CREATE TABLE {table} (LIKE {table}_plain INCLUDING ALL) PARTITION BY HASH (customer_id)")
        for part in range(2):
            home.execute(
                f"CREATE TABLE {table}_{part} PARTITION OF {table} FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
            )
        home.execute(f"DROP TABLE {table}_plain")


def test_a_split_that_fails_leaves_the_single_cell_at_home(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.track(*history())
    world.work()
    before = customers(world)
    with connect(world.settings.home) as home:
        home.execute("CREATE SCHEMA staged_home")  # the name is taken
    with pytest.raises(psycopg.errors.DuplicateSchema):
        growth.split(world.settings)
    world.process.disconnect_all()  # its session was ended
    assert customers(world) == before
    with connect(world.settings.home) as home:
        home.execute("DROP SCHEMA staged_home")
        assert not placement.list_noted(home)
    two = reopened(world, growth.split(world.settings))
    assert customers(two) == before
    two.process.disconnect_all()


def test_a_ticket_from_before_stores_nothing_at_home(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(1)
    world.track(*history())
    monkeypatch.setattr(jobs, "current", world.process)
    growth.split(world.settings)
    world.track(*history())
    jobs.ingest_live()
    assert world.process.settings.cells == 2
    with connect(world.settings.home) as home:
        assert count(home, "customers") == 0
    handover.take_over(world.process.at(0))
    jobs.ingest_live(0)
    with connect(world.process.settings.all_cells[0]) as cell:
        assert count(cell, "customers") > 0
    world.process.disconnect_all()


def test_a_split_that_was_not_announced_goes_on(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its transaction: nothing is stored at home any more, and events wait until it is run again."""
    world = make_world(1)
    world.track(*history()[:200])
    world.work()
    with monkeypatch.context() as patch:
        patch.setattr(growth, "_announce", _die)
        with pytest.raises(SystemExit):
            growth.split(world.settings)
    world.track(*history()[200:])
    with pytest.raises(CellTaken, match="has 2 cells, and WINDBACK_CELLS is 1; set it to 2"):
        presence.enter(world.settings.home)
    assert not world.process.follow()
    two = reopened(world, growth.split(world.settings))
    two.work()
    one = make_world(1)
    one.track(*history())
    one.work()
    assert customers(two) == customers(one)
    assert ledger_of(two) == (len(history()), len(history()), 0)
    two.process.disconnect_all()


def _die(*_: Any, **__: Any) -> None:
    raise SystemExit


@pytest.mark.parametrize("cells", [1, 2])
def test_buffers_that_get_a_server_of_their_own_bring_all_along(
    make_world: MakeWorld, valkeys: list[Valkey], cells: int
) -> None:
    """Doors of before go on for a while; each event is stored once."""
    world = make_world(cells)
    world.track(*history()[:200])
    world.work()
    world.track(*history()[200:])
    world.track(*old_events(250))
    apart = reopened(world, msgspec.structs.replace(world.settings, buffer_url=valkeys[0].url))
    for place in apart.places:
        handover.take_over(place)
    assert (read_ledger(apart).buffered, read_ledger(apart).unaccounted) == (len(history()) - 200 + 250, 0)
    with doors(apart, apart.settings) as client:
        assert client.post("/api/v1/track", json={"events": history()[:30]}).json() == {"status": "ok"}
    world.track(*history()[30:60])
    for _ in range(2):
        apart.work()
    assert read_ledger(world).buffered == 0
    assert (read_ledger(apart).buffered, read_ledger(apart).unaccounted) == (0, 0)
    one = make_world(1)
    one.track(*history(), *old_events(250))
    one.work()
    assert customers(apart) == customers(one)
    apart.process.disconnect_all()
