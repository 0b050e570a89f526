"""Doors and workers whose settings are from before a cell was divided or moved: they never answer with a part."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import pool
from api.app import create_app
from api.dashboard import export
from api.up.embedded import Servers
from tests import databases
from tests.cells.conftest import MakeWorld, World, set_up
from tests.cells.stories import ANSWERS, LISTS, PAGES, at_one_moment, compare, read, sign_in
from tests.cells.test_line import counted, history
from tests.waiting import wait_until
from workers import clock, growth, placement, retry
from workers.buffer.lanes import LIVE
from workers.ingest import ingest
from workers.lease import lease_key
from workers.placement import Announced
from workers.process import Process
from workers.settings import Settings
from workers.store import connect, only_row, presence, sql
from workers.store.presence import CellTaken

READING = [*LISTS, *ANSWERS, *PAGES]
MOMENT = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A door looks for a connection that leads to its cell for so long."""
    monkeypatch.setattr(pool, "POOL_WAIT_SECONDS", 0.2)


def filled(world: World) -> World:
    """A world with customers, and a session."""
    world.track(*history())
    world.work()
    sign_in(world)
    return world


def read_all(world: World) -> dict[str, Any]:
    """Status and body of each path, always as of the same moment: charts move as time goes by."""
    with at_one_moment(MOMENT):
        return {path: read(world, path) for path in READING}


def read_before(world: World) -> dict[str, Any]:
    """The same, of a world in which nothing is amiss: a busy machine opens a connection later than it is waited for."""
    return wait_until(lambda: _find_complete(read_all(world))) or {}


def _find_complete(answers: dict[str, Any]) -> dict[str, Any] | None:
    return None if HTTPStatus.SERVICE_UNAVAILABLE in {status for status, _ in answers.values()} else answers


def find_partial_answers(world: World, before: dict[str, Any]) -> list[str]:
    """The paths that are answered otherwise than before, though nothing happened; 503 is no answer."""
    return [
        f"{path}: {compare(before[path], (status, body))}"
        for path, (status, body) in read_all(world).items()
        if status != HTTPStatus.SERVICE_UNAVAILABLE and (status, body) != before[path]
    ]


def test_no_answer_is_a_part_after_a_move(make_world: MakeWorld) -> None:
    """What the schema held is looked for at home then, where the same tables are empty."""
    world, other = filled(make_world(2)), make_world(1)
    before = read_before(world)
    growth.move(world.settings, 1, other.settings.database_url or "")
    assert not (partial := find_partial_answers(world, before)), "\n".join(partial)
    assert read(world, "/customers.csv")[0] == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("cells", [1, 2])
def test_no_answer_is_a_part_after_a_split(make_world: MakeWorld, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(make_world(cells))
    before = read_before(world)
    monkeypatch.setattr(placement, "follow", _follow_never)
    growth.split(world.settings)
    assert not (partial := find_partial_answers(world, before)), "\n".join(partial)
    assert read(world, "/customers.csv")[0] == HTTPStatus.SERVICE_UNAVAILABLE


def _follow_never(settings: Settings, announced: Announced) -> Settings:
    return settings


@pytest.mark.parametrize("command", ["split", "move"])
def test_a_file_that_has_begun_is_whole(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """All cells are read as of before its first line, whatever happens to them afterwards."""
    monkeypatch.setattr(export, "ROWS", 5)
    world, other = filled(make_world(2)), make_world(1)
    whole = world.client.get("/customers.csv?sort=email").text
    with world.client.stream("GET", "/customers.csv?sort=email") as answer:
        pieces = answer.iter_text()
        file = next(pieces)
        if command == "split":
            growth.split(world.settings)
        else:
            growth.move(world.settings, 1, other.settings.database_url or "")
        file += "".join(pieces)
    assert file == whole


def test_a_worker_that_starts_does_not_make_a_moved_cell_anew(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the schema, which was moved away before the migrations began."""
    world, other = filled(make_world(2)), make_world(1)
    growth.move(world.settings, 1, other.settings.database_url or "")
    monkeypatch.setattr(placement, "has_schema", lambda cell: True)
    with pytest.raises(CellTaken, match="cell 001 was moved"):
        placement.migrate_all(world.settings)
    with connect(world.settings.home) as home:
        assert not only_row(home.execute(sql("has_schema"), {"schema": world.settings.all_cells[1].schema}))[0]


def test_tables_without_numbers_are_nobodys(make_world: MakeWorld) -> None:
    """Those of a copy that was not finished."""
    world = filled(make_world(2))
    cell = world.settings.all_cells[0]
    with connect(cell) as connection:
        connection.execute(sql("note_numbers"), {"number": None, "cells": None})
    with pytest.raises(CellTaken, match="not those of a cell yet; run `windback migrate`"):
        presence.enter(cell)
    assert world.client.get("/api/v1/customers").status_code == HTTPStatus.SERVICE_UNAVAILABLE
    placement.migrate_all(world.settings)
    assert world.client.get("/api/v1/customers").status_code == HTTPStatus.OK


@pytest.fixture
def without_home(all_servers: Servers) -> Iterator[str]:
    """The URL of a database that holds nothing: no tables of home are found there in place of a cell's."""
    name = "cells_without_home"
    databases.execute(all_servers.database_url, f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
    yield databases.name_database(all_servers.database_url, name)
    databases.execute(all_servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_cell_that_was_moved_is_named_where_home_is_elsewhere(make_world: MakeWorld, without_home: str) -> None:
    """By workers, by commands and by /readyz; there is no table of this name at all."""
    world, other = make_world(2), make_world(1)
    apart = growth.move(world.settings, 1, without_home)
    growth.move(apart, 1, other.settings.database_url or "")
    cell = apart.all_cells[1]
    with pytest.raises(CellTaken, match="cell 001 was moved"):
        presence.enter(cell)
    with pytest.raises(CellTaken, match="cell 001 was moved"), presence.reading(cell) as connection:
        connection.execute(sql("count_customers"))
    with TestClient(create_app(apart)) as client:
        wait_until(lambda: "cell 001 was moved" in client.get("/readyz").json()["detail"]["postgres"])


def moved_world(make_world: MakeWorld) -> tuple[Process, World]:
    """A process with the settings of before a move, which has worked, and the world after it."""
    world, other = make_world(2), make_world(1)
    world.track(*history()[:100])
    world.work()
    after = growth.move(world.settings, 1, other.settings.database_url or "")
    process = Process(after, world.redis)
    set_up(process)
    return world.process, world._replace(settings=after, process=process)


def test_workers_with_old_settings_leave_events_to_the_others(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: those that they have read already, and those that they would read."""
    monkeypatch.setattr(retry, "RETRY_CELL_SECONDS", 0.0)
    stale, world = moved_world(make_world)
    before = sum(counted(world))
    for start in (100, 150):
        live = [{**event, "timestamp": datetime.now(UTC).isoformat()} for event in history()[start : start + 50]]
        world.track(*live)
        ingest.drain(stale.at(1), LIVE)
        for place in world.places:
            ingest.drain(place, LIVE)
    assert sum(counted(world)) == before + 100
    world.process.disconnect_all()


def test_a_clock_with_old_settings_leaves_the_cell_to_another(make_world: MakeWorld) -> None:
    """Also beyond its share: nobody else can work there."""
    stale, world = moved_world(make_world)
    leases = {place.cell.name: lease_key(place.cell.prefix) for place in world.places}
    with ExitStack() as stack:

        def run(process: Process) -> None:
            thread = threading.Thread(target=clock.run, args=(process,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(process.stopping.set)

        run(stale)
        wait_until(lambda: all(map(world.redis.exists, leases.values())))
        run(world.process)
        wait_until(lambda: world.redis.get(leases["001"]) == world.process.name.encode())
