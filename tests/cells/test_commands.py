"""Commands while a Postgres or a Redis of a cell is away: they tell what the others know, and name the one away."""

import json

import pytest

from tests.api.command_line import Run, windback
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_line import history
from workers.buffer.entries import hash_customer
from workers.cells import cell_of

CELLS, AWAY = 3, 1
NO_POSTGRES = "postgresql://nobody@/windback?host=/nowhere"
NO_REDIS = "redis://127.0.0.1:1"


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    world = make_world(CELLS)
    world.track(*history())
    world.work()
    return world


def command_line(world: World, **lists: str) -> Run:
    """Runs commands with the settings of a world, and these lists of places."""
    settings = world.settings
    return windback(
        {
            "DATABASE_URL": settings.database_url or "",
            "REDIS_URL": settings.redis_url or "",
            "WINDBACK_CELLS": str(settings.cells),
            "WINDBACK_DATA_DIR": str(settings.data_dir),
            **lists,
        }
    )


@pytest.fixture
def without_postgres(world: World) -> Run:
    urls = [world.settings.database_url or ""] * CELLS
    urls[AWAY] = NO_POSTGRES
    return command_line(world, WINDBACK_CELL_DATABASE_URLS=" ".join(urls))


@pytest.fixture
def without_redis(world: World) -> Run:
    urls = [world.settings.redis_url or ""] * CELLS
    urls[AWAY] = NO_REDIS
    return command_line(world, WINDBACK_CELL_BUFFER_URLS=" ".join(urls))


def customers_of(world: World, cell: int) -> int:
    emails = {event["customer_email"] for event in history()}
    return sum(cell_of(hash_customer(1, email), CELLS) == cell for email in emails)


def test_cells_are_listed_without_the_postgres_of_one(world: World, without_postgres: Run) -> None:
    result = without_postgres("cells status")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    for number in (0, 2):
        assert rows[f"{number:03}"].split()[1] == str(customers_of(world, number))
    assert rows["001"].split()[1:4] == ["?", "0", "0"]
    assert "its Postgres doesn't answer" in rows["001"]


def test_cells_are_listed_without_the_redis_of_one(world: World, without_redis: Run) -> None:
    result = without_redis("cells status")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert rows["001"].split()[1:5] == [str(customers_of(world, AWAY)), "?", "?", "?"]
    assert "its Redis doesn't answer" in rows["001"]
    assert rows["002"].split()[1:4] == [str(customers_of(world, 2)), "0", "0"]


def test_the_status_counts_the_other_cells(world: World, without_postgres: Run) -> None:
    for place in world.places:
        place.connection().execute("UPDATE customers SET rescore_at = now() - interval '1 minute'")
    report = json.loads(without_postgres("status --json").stdout)
    assert report["due"]["customers"] == customers_of(world, 0) + customers_of(world, 2)
    assert report["dead_letters"] == {}
    assert report["postgres"].startswith("cell 001 doesn't answer")
    assert report["postgres"].endswith("its customers are not in these counts")


def test_the_status_names_the_redis_of_a_cell(without_redis: Run) -> None:
    report = json.loads(without_redis("status --json").stdout)
    assert "the buffer of cell 001 doesn't answer" in report["redis"]
    assert report["postgres"] == "ok"


@pytest.mark.parametrize("line", ["keys list", "accounts list", "models list", "webhooks list"])
def test_commands_about_accounts_need_no_cell(without_postgres: Run, line: str) -> None:
    result = without_postgres(line)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "line", ["train", "migrate", "customers erase c1@example.com", "accounts map report_shared login", "cells split"]
)
def test_commands_about_all_cells_name_the_one_away(without_postgres: Run, line: str) -> None:
    result = without_postgres(line)
    assert result.exit_code == 1, result.output
    assert "the Postgres of cell 001 doesn't answer" in result.stderr


@pytest.mark.parametrize("line", ["dead-letters list", "dead-letters replay", "dead-letters purge --yes"])
def test_dead_letters_of_the_other_cells_are_there(without_postgres: Run, line: str) -> None:
    result = without_postgres(line)
    assert result.exit_code == 1, result.output
    assert result.stdout
    assert "left out: the Postgres of cell 001 doesn't answer" in result.stderr


def test_check_names_what_is_away(without_postgres: Run, without_redis: Run) -> None:
    for run, server in ((without_postgres, "Postgres"), (without_redis, "buffer")):
        report = json.loads(run("check --json").stdout)
        faults = {check["name"]: check["detail"] for check in report["checks"] if check["status"] == "error"}
        assert f"its {server} doesn't answer" in faults["cell 001"]
        assert {"cell 000", "cell 002"}.isdisjoint(faults)
