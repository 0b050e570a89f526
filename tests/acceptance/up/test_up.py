"""`windback up`: what it starts, what it survives, how it ends. One of them is shared by the tests that leave it as it
was; the others begin with a copy of a data folder that is set up, but for those about a first start."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from api.cli import main
from api.commands.client import open_service
from api.up import embedded, preflight, procfile
from tests.acceptance.up.process import UNSET, WINDBACK, Up, cleaned, family
from tests.waiting import wait_until

KINDS = procfile.procfile()
WORKERS = 2
PROCESSES = sum(WORKERS if name in procfile.SEVERAL else 1 for name in KINDS)
EVENT = {"event": "login", "customer_email": "jane@example.com"}


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
    assert all(re.match(r"^([a-z.12]{3,9} *\| |opened )", line) for line in up.err.splitlines()), up.err


def works(up: Up, email: str) -> None:
    """The whole line works: an event of this customer is taken, stored and scored."""
    key = (up.data_dir / "api-key").read_text().strip()
    event = {"event": "login", "customer_email": email}
    wait_until(lambda: up.ask("POST", "/api/v1/track", event, X_API_Key=key) == (200, {"status": "ok"}))
    wait_until(lambda: up.ask("GET", f"/api/v1/customers/{email}", X_API_Key=key)[1].get("risk"), timeout=90)


def are_all_there(up: Up) -> bool:
    return len(family(up.data_dir, " -m ")) == PROCESSES


def test_it_prints_url_and_key_and_goes_on_with_the_same_after_ctrl_c(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        key = up.ready()
        assert (tmp_path / ".windback/api-key").read_text().strip() == key
        assert (tmp_path / ".windback/api-key").stat().st_mode & 0o777 == 0o600
        assert up.ask("POST", "/api/v1/track", EVENT, X_API_Key=key) == (200, {"status": "ok"})
        up.stop()
    with cleaned(Up(tmp_path)) as up:
        assert up.ready() == key
        assert up.ask("POST", "/api/v1/track", EVENT, X_API_Key=key) == (200, {"status": "ok"})
        up.stop(signal.SIGTERM)


def test_it_starts_the_procfile_with_as_many_workers_as_asked(shared: Up) -> None:
    wait_until(lambda: are_all_there(shared))
    count = {kind: len(family(shared.data_dir, f"-m {kind}")) for kind in ("api", "workers ingest", "workers clock")}
    assert count == {"api": 1, "workers ingest": WORKERS, "workers clock": 1}
    wait_until(lambda: {one.nice() for one in family(shared.data_dir, "-m workers import")} == {os.nice(0) + 5})
    assert {one.nice() for one in family(shared.data_dir, "-m workers ingest")} == {os.nice(0)}


def test_a_folder_with_packages_of_the_same_names(shared: Up) -> None:
    """People start it in their own projects, which have an `api` or `workers` of theirs."""
    assert (shared.folder / "api").is_dir()
    works(shared, "neighbour@example.com")


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
    works(shared, "hangup@example.com")


@pytest.mark.parametrize("pid_file", ["postgres/postmaster.pid", "redis/redis.pid"])
def test_a_server_that_dies_is_back_soon(shared: Up, pid_file: str) -> None:
    name = pid_file.partition("/")[0]
    before = shared.err.count(f"{name:<8} | ended by SIGKILL")
    os.kill(int((shared.data_dir / pid_file).read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: shared.err.count(f"{name:<8} | ended by SIGKILL") == before + 1)
    wait_until(lambda: embedded.find(shared.data_dir))
    wait_until(shared.is_ready)
    works(shared, f"{name}@example.com")


def test_processes_that_die_are_back_soon(shared: Up) -> None:
    wait_until(lambda: are_all_there(shared))
    before = shared.err.count("starting it again")
    for process in family(shared.data_dir, " -m "):
        process.kill()
    wait_until(lambda: shared.err.count("starting it again") == before + PROCESSES)
    wait_until(shared.is_ready)
    wait_until(lambda: are_all_there(shared))
    works(shared, "revived@example.com")


def test_after_a_kill_nothing_but_the_servers_lives_and_the_next_start_works(
    tmp_path: Path, prepared_folder: Path
) -> None:
    """Also at once after the kill. The end of the terminal ends it in the end."""
    with cleaned(Up(tmp_path, prepared_folder=prepared_folder)) as up:
        key = up.ready()
        up.kill()
        wait_until(lambda: not family(up.data_dir, "-m api") and not family(up.data_dir, "-m workers"), timeout=15)
        assert embedded.find(up.data_dir)
    with cleaned(Up(tmp_path, port=up.port)) as again:
        assert again.ready() == key
        again.kill()
        with cleaned(Up(tmp_path, port=up.port)) as at_once:
            assert at_once.ready() == key
            wait_until(lambda: len(family(up.data_dir, "-m workers")) == len(KINDS) - 1)
            at_once.stop(signal.SIGHUP)
    assert preflight.running(up.data_dir) is None


def test_so_it_is_with_several_web_processes_and_a_second_ctrl_c_hurries(tmp_path: Path, prepared_folder: Path) -> None:
    settings = {"WINDBACK_WEB_PROCESSES": "2"}
    with cleaned(Up(tmp_path, settings=settings, prepared_folder=prepared_folder)) as up:
        key = up.ready()
        up.kill()
        wait_until(lambda: not family(up.data_dir, "-m api") and not family(up.data_dir, "-m workers"), timeout=15)
    with cleaned(Up(tmp_path, settings=settings, port=up.port)) as again:
        assert again.ready() == key
        again.process.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping" in again.err)
        again.stop()


def test_ctrl_c_while_it_starts(tmp_path: Path, prepared_folder: Path) -> None:
    with cleaned(Up(tmp_path, prepared_folder=prepared_folder)) as up:
        wait_until(lambda: "postgres |" in up.err, timeout=90)
        up.stop()
    assert "API key" not in up.out


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with cleaned(Up(tmp_path, port=port)) as up:
            assert up.process.wait(60) == 1
    assert up.err == f"Error: Port {port} is in use; choose another with --port\n"
    assert not (up.data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", r"DATABASE_URL: .*refused"),
        ("DATABASE_URL", "postgresql://host:port/none", r"DATABASE_URL is wrong: .*port"),
        ("DATABASE_URL", "mysql://there", r"DATABASE_URL is wrong: .*postgresql://"),
        ("REDIS_URL", "redis://127.0.0.1:1", r"REDIS_URL: .*refused"),
        ("REDIS_URL", "there", r"REDIS_URL is wrong: .*redis://"),
        ("PORT", "eighty", r"PORT is wrong: "),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, name: str, value: str, message: str) -> None:
    environment = {**dict.fromkeys(UNSET), name: value}
    done = CliRunner().invoke(main, ["up", "--data-dir", str(tmp_path / "data")], env=environment)
    assert done.exit_code == 1
    assert re.fullmatch(rf"Error: {message}.*\n", done.stderr), done.stderr
    assert not (tmp_path / "data" / "postgres").exists()


def test_it_uses_the_servers_that_the_settings_name(tmp_path: Path, database_url: str, redis_url: str) -> None:
    urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    with cleaned(Up(tmp_path, settings=urls)) as up:
        key = up.ready()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", database_url)
            assert open_service(None, key, up.data_dir).url == f"http://127.0.0.1:{up.port}"
            patch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
            with pytest.raises(click.ClickException, match="--url"):
                open_service(None, key, up.data_dir)
        up.stop()
    assert [embedded.trouble(url) for url in (database_url, redis_url)] == [None, None]
    assert {path.name for path in up.data_dir.iterdir()} == {".gitignore", "api-key", "lock"}


@pytest.mark.parametrize("name", ['it\'s "my app", a=b ü', "long" * 50])
def test_a_data_folder_may_have_any_name(tmp_path: Path, prepared_folder: Path, name: str) -> None:
    """And the banner means that every kind of process works: an event is stored and scored."""
    (tmp_path / name).mkdir()
    with cleaned(Up(tmp_path / name, prepared_folder=prepared_folder)) as up:
        up.ready()
        works(up, "jane@example.com")
        assert "starting it again" not in up.err
        up.stop()


def test_a_process_that_never_works_is_given_up_with_the_reason(tmp_path: Path, prepared_folder: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif sys.orig_argv[-2:] == ['workers', 'import']:\n"
        "    print('no luck here', file=sys.stderr, flush=True)\n    os._exit(3)\n"
    )
    path = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    with cleaned(Up(tmp_path, settings={"PYTHONPATH": path}, prepared_folder=prepared_folder)) as up:
        assert up.process.wait(90) == 1
        assert "import does not run: it ended with exit code 3: no luck here" in up.err
        assert up.err.count("starting it again") == 3
        assert "API key" not in up.out
        assert family(up.data_dir) == []
