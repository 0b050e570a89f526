"""Commands whose settings are older than a move or a split, or lack the number of cells: none tells of other cells than
there are, and each says what to do."""

import json
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from api.commands import cell_checks
from tests.acceptance.up.process import Up, cleaned
from tests.api.command_line import Run, windback
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_commands import NO_POSTGRES, NO_REDIS, command_line
from tests.cells.test_line import history
from tests.waiting import wait_until
from workers import growth, placement
from workers.placement import Misplaced
from workers.store import connect, only_row, sql
from workers.store.locks import Lock, holding

CELLS = 3


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    world = make_world(CELLS)
    world.track(*history()[:100])
    world.work()
    return world


def find_faults(run: Run) -> dict[str, str]:
    report = json.loads(run("check --json").stdout)
    return {check["name"]: check["detail"] for check in report["checks"] if check["status"] != "ok"}


@pytest.mark.parametrize("cells", ["1", "2", "6"])
@pytest.mark.parametrize("line", ["cells status", "status", "cells move 1 --to postgresql:///x"])
def test_a_wrong_number_of_cells_is_refused(world: World, line: str, cells: str) -> None:
    result = command_line(world, WINDBACK_CELLS=cells)(line)
    assert result.exit_code == 1, result.output
    assert f"this installation has 3 cells, and WINDBACK_CELLS is {cells}; set it to 3" in result.stderr


def test_check_names_a_wrong_number_of_cells(world: World) -> None:
    faults = find_faults(command_line(world, WINDBACK_CELLS="1"))
    assert faults["cells"] == "this installation has 3 cells, and WINDBACK_CELLS is 1; set it to 3"


def test_cells_that_are_not_set_up_are_named_so(make_world: MakeWorld) -> None:
    result = command_line(make_world(1), WINDBACK_CELLS="2")("cells status")
    assert result.exit_code == 1, result.output
    assert "the cells are not set up yet; run `windback migrate`" in result.stderr


def test_a_move_with_the_settings_of_before_another_is_refused(world: World, make_world: MakeWorld) -> None:
    """It would print a list that leads the other cell to its old place."""
    there = make_world(1).settings.database_url or ""
    growth.move(world.settings, 1, there)
    with pytest.raises(Misplaced, match="cell 001 has no schema cell_001 there; set WINDBACK_CELL_DATABASE_URLS"):
        growth.move(world.settings, 2, there)
    run = command_line(world)
    assert "cell 001 has no schema cell_001 there" in find_faults(run)["cell 001"]
    row = next(line for line in run("cells status").stdout.splitlines() if line.startswith("001"))
    assert "cell 001 was moved; set WINDBACK_CELL_DATABASE_URLS" in row
    assert "doesn't answer" not in row
    told = json.loads(run("status --json").stdout)["postgres"]
    assert told.startswith("cell 001 there is no schema cell_001: cell 001 was moved")


def test_check_names_the_tables_of_another_installation(world: World, make_world: MakeWorld) -> None:
    other = make_world(CELLS).settings.database_url or ""
    urls = [world.settings.database_url or "", other, world.settings.database_url or ""]
    faults = find_faults(command_line(world, WINDBACK_CELL_DATABASE_URLS=" ".join(urls)))
    assert "its tables are another installation's; set WINDBACK_CELL_DATABASE_URLS as it was" in faults["cell 001"]


def test_a_move_names_the_target_that_does_not_answer(world: World) -> None:
    result = command_line(world)("cells move 1", "--to", NO_POSTGRES)
    assert result.exit_code == 1, result.output
    assert "--to: Postgres doesn't answer" in result.stderr


def test_a_split_begins_only_with_all_buffers_there(world: World) -> None:
    """Else the cells of one Postgres would be divided, and those of the next one not."""
    urls = [world.settings.redis_url or "", world.settings.redis_url or "", NO_REDIS]
    result = command_line(world, WINDBACK_CELL_BUFFER_URLS=" ".join(urls))("cells split")
    assert result.exit_code == 1, result.output
    assert "the Redis of cell 002 doesn't answer" in result.stderr
    with connect(world.settings.home) as home:
        for number in range(CELLS, 2 * CELLS):
            assert not only_row(home.execute(sql("has_schema"), {"schema": f"cell_{number:03}"}))[0]


def test_a_shell_takes_the_settings_that_a_command_prints(world: World, make_world: MakeWorld) -> None:
    """With the blanks between places, and all that a URL may hold."""
    here, there = world.settings.database_url or "", f"{make_world(1).settings.database_url}&application_name=a%20$b"
    result = command_line(world)("cells move 1", "--to", there)
    assert result.exit_code == 0, result.output
    settings = "\n".join(line for line in result.stdout.splitlines() if line.startswith("  WINDBACK_"))
    shell = ["sh", "-c", f'{settings}\nprintf "%s %s" "$WINDBACK_CELLS" "$WINDBACK_CELL_DATABASE_URLS"']
    assert subprocess.run(shell, check=True, capture_output=True, text=True).stdout == f"3 {here} {there} {here}"


@pytest.mark.parametrize("line", ["cells split", "cells move 1 --to"])
def test_one_command_about_cells_works_at_a_time(world: World, make_world: MakeWorld, line: str) -> None:
    there = make_world(1).settings.database_url or ""
    with connect(world.settings.home) as home, holding(home, Lock.CELLS):
        result = command_line(world)(line, *([there] if "move" in line else []))
    assert result.exit_code == 1, result.output
    assert "another `windback cells split` or `move` is at work" in result.stderr


def test_a_move_waits_for_a_split_that_was_interrupted(world: World, make_world: MakeWorld) -> None:
    """One Postgres is divided, and the other one not."""
    there = make_world(1).settings.database_url or ""
    apart = growth.move(world.settings, 2, there)
    after = placement.double(apart)
    with ExitStack() as stack, connect(apart.home) as home:
        growth._split_database(stack, apart.all_cells[:2], after, placement.list_noted(home))
    for number, target in ((0, there), (2, world.settings.database_url or "")):
        with pytest.raises(Misplaced, match="`windback cells split` was interrupted, run it again"):
            growth.move(apart, number, target)
    assert growth.split(apart) == after


def test_a_split_names_a_schema_that_is_in_the_way(world: World, make_world: MakeWorld) -> None:
    """A copy that an interrupted move left, for one. Nothing is divided."""
    there = make_world(1).settings.database_url or ""
    apart = growth.move(world.settings, 2, there)
    with connect(there) as connection:
        connection.execute("CREATE SCHEMA cell_005")
    with pytest.raises(Misplaced, match="schema cell_005 is in the way in the database of cell 002"):
        growth.split(apart)
    with connect(there) as connection:
        connection.execute("DROP SCHEMA cell_005")
    assert growth.split(apart).cells == 2 * CELLS


def test_a_move_leaves_the_tables_of_another_installation_alone(world: World, make_world: MakeWorld) -> None:
    other = make_world(CELLS)
    other.track(*history()[:100])
    other.work()
    with pytest.raises(Misplaced, match="schema cell_001 of the other server holds customers of another installation"):
        growth.move(world.settings, 1, other.settings.database_url or "")


def test_the_clocks_of_cells_are_checked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = command_line(world)
    assert not any(name.startswith("clock") for name in find_faults(run))
    monkeypatch.setattr(
        cell_checks, "read_clocks", lambda cell: [(f"clock of redis, cell {cell.name}", time.time() + 90)]
    )
    assert "ahead of this machine's" in find_faults(run)["clock of redis, cell 001"]


def test_the_status_names_the_cell_whose_events_wait(world: World) -> None:
    """The others are stored, and were just now."""
    world.track(*history()[100:200])
    at = int(time.time()) - 600
    lane = world.places[0].lanes["history"]
    world.redis.hset(lane.outcomes, "settled_at", at)
    entries: Any = world.redis.xrange(lane.stream, count=1)
    world.redis.delete(lane.stream)
    world.redis.xadd(lane.stream, entries[0][1], id=f"{at}000-0")
    report = json.loads(command_line(world)("status --json").stdout)
    assert [line.split(":")[0] for line in report["stuck"] if "none was stored" in line] == ["cell 000"]
    assert report["last_stored_seconds"] < 300


def test_a_data_folder_knows_its_cells(tmp_path: Path, prepared_folder: Path) -> None:
    """Commands and the next `windback up` have as many as there are, also after a split."""
    run = windback({"WINDBACK_DATA_DIR": str(tmp_path / ".windback")})
    with cleaned(Up(tmp_path, "--cells", "2", prepared_folder=prepared_folder)) as up:
        up.ready()
        assert list_cells(run) == ["000", "001"]
        assert find_faults(run).keys() <= {"disk"}
        split = run("cells split")
        assert (split.exit_code, "WINDBACK_CELLS=4" in split.stdout) == (0, True), split.output
        assert list_cells(run) == ["000", "001", "002", "003"]
        assert run("status").exit_code == run("keys list").exit_code == 0
        up.stop()
    for options in ([], ["--cells", "2"]):
        with cleaned(Up(tmp_path, *options)) as up:
            up.ready()
            wait_until(lambda: up.ask("GET", "/readyz")[0] == 200)
            up.stop()
    with cleaned(Up(tmp_path, "--cells", "3")) as up:
        assert up.process.wait(90) == 1
        assert "this installation has 4 cells, and WINDBACK_CELLS is 3; set it to 4" in up.err


def list_cells(run: Run) -> list[str]:
    return [line.split()[0] for line in run("cells status").stdout.splitlines()[1:]]
