"""`windback up` from its start to its end: what it says, what it leaves behind, and what stops it. Its data folder is a
copy of one that is set up, but for a first start."""

import os
import re
import signal
import socket
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from api.cli import main
from api.commands.client import open_service
from api.up import embedded, preflight, procfile
from tests.acceptance.up.process import UNSET, Up, check_works, cleaned, family
from tests.waiting import wait_until

KINDS = procfile.procfile()
EVENT = {"event": "login", "customer_email": "jane@example.com"}


def test_it_prints_url_and_key_and_goes_on_with_the_same_after_ctrl_c(tmp_path: Path) -> None:
    """In a folder of any name. And the banner means that every kind of process works: an event is stored and scored.
    Tests of the servers have names that are too long."""
    folder = tmp_path / 'it\'s "my app", a=b ü'
    folder.mkdir()
    with cleaned(Up(folder)) as up:
        key = up.ready()
        assert (folder / ".windback/api-key").read_text().strip() == key
        assert (folder / ".windback/api-key").stat().st_mode & 0o777 == 0o600
        check_works(up, "jane@example.com")
        assert "starting it again" not in up.err
        up.stop()
    with cleaned(Up(folder)) as up:
        assert up.ready() == key
        assert up.ask("POST", "/api/v1/track", EVENT, X_API_Key=key) == (200, {"status": "ok"})
        up.stop(signal.SIGTERM)


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


def test_a_process_that_never_works_is_given_up_with_the_reason(tmp_path: Path, prepared_folder: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif sys.orig_argv[-2:] == ['workers', 'import']:\n"
        "    print('no luck here', file=sys.stderr, flush=True)\n    os._exit(3)\n"
    )
    path = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    with cleaned(Up(tmp_path, settings={"PYTHONPATH": path}, prepared_folder=prepared_folder)) as up:
        assert up.process.wait(90) == 1
        assert "import does not run: it ended with exit code 3: no luck here" in up.err
        assert up.err.count("ended with exit code 3; starting it again") >= 3  # once more, if nobody looked in time
        assert "API key" not in up.out
        assert family(up.data_dir) == []
