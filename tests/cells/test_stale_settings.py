"""Doors and workers whose settings are from before a cell was divided or moved: they never answer with a part."""

import re
from http import HTTPStatus
from typing import Any

import pytest

from api import pool
from api.dashboard import export
from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import ANSWERS, LISTS, PAGES, compare, read, sign_in
from tests.cells.test_line import history
from workers import growth, placement
from workers.settings import Settings
from workers.store import connect, only_row, presence, sql
from workers.store.presence import CellTaken

READING = [*LISTS, *ANSWERS, *PAGES]


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
    """Status and body of each path, without the places of a chart's dots and labels: these move as time goes by."""
    answers = {path: read(world, path) for path in READING}
    return {path: (status, re.sub(r'\bc?[xy]="[^"]+"', "", str(body))) for path, (status, body) in answers.items()}


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
    before = read_all(world)
    growth.move(world.settings, 1, other.settings.database_url or "")
    assert not (partial := find_partial_answers(world, before)), "\n".join(partial)
    assert read(world, "/customers.csv")[0] == HTTPStatus.SERVICE_UNAVAILABLE


def test_no_answer_is_a_part_after_a_split(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(make_world(2))
    before = read_all(world)
    monkeypatch.setattr(placement, "follow", _follow_never)
    growth.split(world.settings)
    assert not (partial := find_partial_answers(world, before)), "\n".join(partial)
    assert read(world, "/customers.csv")[0] == HTTPStatus.SERVICE_UNAVAILABLE


def _follow_never(settings: Settings, count: int) -> Settings:
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
