"""`windback up` while it runs: what it starts, and what it survives. All tests share one, and leave it as it was."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.up import embedded, preflight, procfile
from tests.acceptance.up.process import WINDBACK, Up, check_works, cleaned, family
from tests.waiting import wait_until

KINDS = procfile.procfile()
WORKERS = 2
PROCESSES = sum(WORKERS if name in procfile.SEVERAL else 1 for name in KINDS)


@pytest.fixture(scope="module")
def shared(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """It runs under nohup, in a project with packages of the same names, with two workers of each kind."""
    folder = tmp_path_factory.mktemp("shared")
    for name in ("api", "workers"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('not this one')")
    settings = {"PYTHONSAFEPATH": "1"}
    program = ["nohup", *WINDBACK]
    up = Up(folder, "--workers", str(WORKERS), settings=settings, program=program, prepared_folder=prepared_folder)
    with cleaned(up):
        up.ready()
        yield up
        up.stop()
    assert all(re.match(r"^([a-z.12]{3,9} *\| |let PostgreSQL)", line) for line in up.err.splitlines()), up.err


def are_all_there(up: Up) -> bool:
    return len(family(up.data_dir, " -m ")) == PROCESSES


def test_it_starts_the_procfile_with_as_many_workers_as_asked(shared: Up) -> None:
    wait_until(lambda: are_all_there(shared))
    count = {kind: len(family(shared.data_dir, f"-m {kind}")) for kind in ("api", "workers ingest", "workers clock")}
    assert count == {"api": 1, "workers ingest": WORKERS, "workers clock": 1}
    wait_until(lambda: {one.nice() for one in family(shared.data_dir, "-m workers import")} == {os.nice(0) + 5})
    assert {one.nice() for one in family(shared.data_dir, "-m workers ingest")} == {os.nice(0)}


def test_a_folder_with_packages_of_the_same_names(shared: Up) -> None:
    """People start it in their own projects, which have an `api` or `workers` of theirs."""
    assert (shared.folder / "api").is_dir()
    check_works(shared, "neighbour@example.com")


def test_only_one_runs_on_a_data_folder(shared: Up, tmp_path: Path) -> None:
    with cleaned(Up(tmp_path, "--data-dir", str(shared.data_dir))) as second:
        assert second.process.wait(60) == 1
        assert second.err == f"Error: already running on http://127.0.0.1:{shared.port}\n"
    assert preflight.running(shared.data_dir) == f"http://127.0.0.1:{shared.port}"


def test_a_command_works_on_the_running_servers(shared: Up) -> None:
    with embedded.servers(shared.data_dir) as servers:
        assert embedded.find(shared.data_dir) == servers
    assert shared.is_ready()


def test_under_nohup_it_goes_on_without_its_terminal(shared: Up) -> None:
    before = shared.err.count("clock    | ended by SIGKILL; starting it again")
    shared.process.send_signal(signal.SIGHUP)
    for process in family(shared.data_dir, "-m workers clock"):
        process.kill()
    wait_until(lambda: shared.err.count("clock    | ended by SIGKILL; starting it again") == before + 1)
    wait_until(lambda: are_all_there(shared))
    check_works(shared, "hangup@example.com")


@pytest.mark.parametrize("pid_file", ["postgres/postmaster.pid", "redis/redis.pid"])
def test_a_server_that_dies_is_back_soon(shared: Up, pid_file: str) -> None:
    name = pid_file.partition("/")[0]
    before = shared.err.count(f"{name:<8} | ended by SIGKILL")
    os.kill(int((shared.data_dir / pid_file).read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: shared.err.count(f"{name:<8} | ended by SIGKILL") == before + 1)
    wait_until(lambda: embedded.find(shared.data_dir))
    wait_until(shared.is_ready)
    check_works(shared, f"{name}@example.com")


def test_processes_that_die_are_back_soon(shared: Up) -> None:
    wait_until(lambda: are_all_there(shared))
    before = shared.err.count("starting it again")
    for process in family(shared.data_dir, " -m "):
        process.kill()
    wait_until(lambda: shared.err.count("starting it again") == before + PROCESSES)
    wait_until(shared.is_ready)
    wait_until(lambda: are_all_there(shared))
    check_works(shared, "revived@example.com")
