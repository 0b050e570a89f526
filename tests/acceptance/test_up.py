"""`windback up` as people run it: a process, its output, its signals, and what is left of it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from api.commands.client import open_service
from api.up import embedded, packaged_servers, preflight, procfile
from tests.ports import free_port
from tests.waiting import wait_until

WINDBACK = [sys.executable, "-c", "from api.cli import main; main()"]
PROCESSES = procfile.procfile()
UNSET = ("DATABASE_URL", "REDIS_URL", "PORT", "WINDBACK_HOST", "WINDBACK_DATA_DIR")


class Up:
    """A `windback up` in a folder: its process, its port, and what it has said so far."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = WINDBACK,
    ) -> None:
        self.folder = folder
        self.data_dir = folder / ".windback"
        self.port = port or free_port()
        given = {name: value for name, value in os.environ.items() if name not in UNSET}
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [*program, "up", "--port", str(self.port), *options],
                cwd=folder,
                env=given | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | dict(settings or {}),
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def ready(self) -> str:
        """Wait until it says that it runs; the key that it prints."""
        wait_until(lambda: "API key" in self.out or self.process.poll() is not None, timeout=90)
        assert f"http://127.0.0.1:{self.port}" in self.out, self.err
        found = re.search(r"sk_live_\S+", self.out)
        assert found
        return found[0]

    def stop(self, signum: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(signum)
        assert self.process.wait(60) == 0, self.err
        assert family(self.data_dir) == []

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, json.dumps(body), {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")
        finally:
            connection.close()

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False


def family(data_dir: Path, word: str = "") -> list[Any]:
    """The processes of this data folder, those with this word in their command line: by their settings, or by their
    working folder (the servers')."""
    psutil = packaged_servers.load("psutil")
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("WINDBACK_DATA_DIR") == str(data_dir) or str(data_dir) in process.cwd()
            if ours and process.status() != psutil.STATUS_ZOMBIE and word in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@contextmanager
def cleaned(up: Up) -> Iterator[Up]:
    """Whatever happens in the test, nothing of this `up` outlives it."""
    try:
        yield up
    finally:
        up.kill()
        for process in family(up.data_dir):
            process.kill()


def test_it_prints_url_and_key_and_goes_on_with_the_same_after_ctrl_c(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        key = up.ready()
        assert (tmp_path / ".windback/api-key").read_text().strip() == key
        assert (tmp_path / ".windback/api-key").stat().st_mode & 0o777 == 0o600
        event = {"event": "login", "customer_email": "jane@example.com"}
        assert up.ask("POST", "/api/v1/track", event, X_API_Key=key) == (200, {"status": "ok"})
        up.stop()
    with cleaned(Up(tmp_path)) as up:
        assert up.ready() == key
        assert up.ask("POST", "/api/v1/track", event, X_API_Key=key) == (200, {"status": "ok"})
        up.stop(signal.SIGTERM)


def test_it_starts_the_procfile_with_as_many_workers_as_asked(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path, "--workers", "2")) as up:
        up.ready()
        count = {kind: len(family(up.data_dir, f"-m {kind}")) for kind in ("api", "workers ingest", "workers clock")}
        assert count == {"api": 1, "workers ingest": 2, "workers clock": 1}
        wait_until(lambda: {one.nice() for one in family(up.data_dir, "-m workers import")} == {os.nice(0) + 5})
        assert {one.nice() for one in family(up.data_dir, "-m workers ingest")} == {os.nice(0)}
        up.stop()
    assert all(re.match(r"^([a-z.12]{3,9} *\| |opened )", line) for line in up.err.splitlines()), up.err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_after_a_kill_nothing_but_the_servers_lives_and_the_next_start_works(tmp_path: Path, processes: str) -> None:
    with cleaned(Up(tmp_path, settings={"WINDBACK_WEB_PROCESSES": processes})) as up:
        key = up.ready()
        up.kill()
        wait_until(lambda: not family(up.data_dir, "-m api") and not family(up.data_dir, "-m workers"), timeout=15)
        assert embedded.find(up.data_dir)
    with cleaned(Up(tmp_path, port=up.port)) as again:
        assert again.ready() == key
        again.kill()
        with cleaned(Up(tmp_path, port=up.port)) as at_once:
            assert at_once.ready() == key
            wait_until(lambda: len(family(up.data_dir, "-m workers")) == len(PROCESSES) - 1)
            at_once.stop()


@pytest.mark.parametrize("pid_file", ["postgres/postmaster.pid", "redis/redis.pid"])
def test_a_server_that_dies_is_back_soon(tmp_path: Path, pid_file: str) -> None:
    with cleaned(Up(tmp_path)) as up:
        key = up.ready()
        pid = int((up.data_dir / pid_file).read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "SIGKILL" in up.err)
        wait_until(lambda: embedded.find(up.data_dir))
        wait_until(up.is_ready)
        event = {"event": "login", "customer_email": "jane@example.com"}
        wait_until(lambda: up.ask("POST", "/api/v1/track", event, X_API_Key=key)[0] == 200)
        jane = "/api/v1/customers/jane@example.com"
        wait_until(lambda: up.ask("GET", jane, X_API_Key=key)[1].get("risk"), timeout=90)  # the whole line works
        up.stop()


def test_a_process_that_dies_is_back_soon(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        up.ready()
        for process in family(up.data_dir, " -m "):
            process.kill()
        wait_until(lambda: up.err.count("starting it again") == len(PROCESSES))
        wait_until(up.is_ready)
        wait_until(lambda: len(family(up.data_dir, "-m workers")) == len(PROCESSES) - 1)
        up.stop()


def test_a_second_ctrl_c_hurries(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        up.ready()
        up.process.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping" in up.err)
        up.stop()


def test_under_nohup_it_goes_on_without_its_terminal(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path, program=["nohup", *WINDBACK])) as up:
        up.ready()
        up.process.send_signal(signal.SIGHUP)
        for process in family(up.data_dir, "-m workers clock"):
            process.kill()
        wait_until(lambda: "clock    | ended by SIGKILL; starting it again" in up.err)
        wait_until(lambda: family(up.data_dir, "-m workers clock"))
        up.stop()


def test_the_end_of_the_terminal_ends_it(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        up.ready()
        up.stop(signal.SIGHUP)


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        wait_until(lambda: "postgres |" in up.err)
        up.stop()
    assert "API key" not in up.out


def test_only_one_runs_on_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with cleaned(Up(tmp_path)) as up:
        up.ready()
        with cleaned(Up(tmp_path / "second", "--data-dir", str(up.data_dir))) as second:
            assert second.process.wait(60) == 1
            assert second.err == f"Error: already running on http://127.0.0.1:{up.port}\n"
        assert preflight.running(up.data_dir) == f"http://127.0.0.1:{up.port}"
        up.stop()
        assert preflight.running(up.data_dir) is None


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with cleaned(Up(tmp_path, port=port)) as up:
            assert up.process.wait(60) == 1
    assert up.err == f"Error: Port {port} is in use; choose another with --port\n"
    assert not (up.data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", r"DATABASE_URL: .*refused"),
        ("DATABASE_URL", "postgresql://host:port/none", r"DATABASE_URL is wrong: .*port"),
        ("DATABASE_URL", "mysql://there", r"DATABASE_URL is wrong: .*postgresql://"),
        ("REDIS_URL", "redis://127.0.0.1:1", r"REDIS_URL: .*refused"),
        ("REDIS_URL", "there", r"REDIS_URL is wrong: .*redis://"),
        ("PORT", "eighty", r"PORT is wrong: "),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, name: str, value: str, said: str) -> None:
    with cleaned(Up(tmp_path, settings={name: value})) as up:
        assert up.process.wait(60) == 1
    assert re.fullmatch(rf"Error: {said}.*\n", up.err), up.err
    assert not (up.data_dir / "postgres").exists()


def test_it_uses_the_servers_that_the_settings_name(tmp_path: Path) -> None:
    with embedded.servers(tmp_path / "servers", durable=False) as servers:
        given = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
        with cleaned(Up(tmp_path, settings=given)) as up:
            key = up.ready()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DATABASE_URL", servers.database_url)
                assert open_service(None, key, up.data_dir).url == f"http://127.0.0.1:{up.port}"
                patch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
                with pytest.raises(click.ClickException, match="--url"):
                    open_service(None, key, up.data_dir)
            up.stop()
        assert embedded.find(tmp_path / "servers") == servers
    assert {path.name for path in up.data_dir.iterdir()} == {".gitignore", "api-key", "lock"}


def test_a_folder_with_packages_of_the_same_names(tmp_path: Path) -> None:
    """People start it in their own projects, which have an `api` or `workers` of theirs."""
    for name in ("api", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')")
    with cleaned(Up(tmp_path, settings={"PYTHONSAFEPATH": "1"})) as up:
        up.ready()
        up.stop()


@pytest.mark.parametrize("name", ["my app", "a=b", 'it\'s "quoted"', "ü, comma", "long" * 50])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """And the banner means that every kind of process works: an event is stored and scored."""
    (tmp_path / name).mkdir()
    with cleaned(Up(tmp_path / name)) as up:
        key = up.ready()
        event = {"event": "login", "customer_email": "jane@example.com"}
        assert up.ask("POST", "/api/v1/track", event, X_API_Key=key) == (200, {"status": "ok"})
        jane = "/api/v1/customers/jane@example.com"
        wait_until(lambda: up.ask("GET", jane, X_API_Key=key)[1].get("risk"), timeout=30)
        assert "starting it again" not in up.err
        up.stop()


def test_a_process_that_never_works_is_given_up_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif sys.orig_argv[-2:] == ['workers', 'import']:\n"
        "    print('no luck here', file=sys.stderr, flush=True)\n    os._exit(3)\n"
    )
    path = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    with cleaned(Up(tmp_path, settings={"PYTHONPATH": path})) as up:
        assert up.process.wait(90) == 1
        assert "import does not run: it ended with exit code 3: no luck here" in up.err
        assert up.err.count("starting it again") == 3
        assert "API key" not in up.out
        assert family(up.data_dir) == []


def test_a_command_works_on_the_running_servers(tmp_path: Path) -> None:
    with cleaned(Up(tmp_path)) as up:
        up.ready()
        with embedded.servers(up.data_dir) as servers:
            assert embedded.find(up.data_dir) == servers
        assert up.is_ready()
        up.stop()
