"""PostgreSQL and a Redis-compatible server out of their wheels, for one machine and for the tests.

They listen on Unix sockets alone and outlive whoever started them, so a lock says who may touch them: whoever uses the
servers of a folder holds DATA_DIR/servers.lock shared, whoever starts or stops them holds it alone, and the last to
use them stops them. `windback up` is a user for as long as it runs.
"""

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.up import packaged_servers
from api.up.packaged_servers import EmbeddedError as EmbeddedError
from api.up.packaged_servers import Server
from api.up.packaged_servers import last_words as last_words
from workers.logs import first_line
from workers.settings import Settings
from workers.store import connect

T = TypeVar("T")

START_SECONDS = 60.0  # recovery after a power cut may take a while
START_ATTEMPTS = 10
STOP_SECONDS = 6.0
POLL_SECONDS = 0.02


class Servers(NamedTuple):
    """The URLs of the two servers, as psycopg and redis-py read them, and the number of cells where the settings leave
    it to the data folder."""

    database_url: str
    redis_url: str
    cells: int | None = None

    def apply(self, settings: Settings) -> Settings:
        """Returns these settings with the servers' URLs."""
        cells = settings.cells if self.cells is None else self.cells
        return settings.changed(database_url=self.database_url, redis_url=self.redis_url, cells=cells)


def find(data_dir: Path, database_url: str | None = None, redis_url: str | None = None) -> Servers | None:
    """The servers that run on this folder, if they answer. A URL that is given takes the place of its server."""
    ours = packaged_servers.urls(data_dir)
    running = Servers(database_url or ours[0], redis_url or ours[1])
    return None if any(trouble(url) for url in running if url in ours) else running


@contextmanager
def servers(
    data_dir: Path, database_url: str | None = None, redis_url: str | None = None, *, durable: bool = True
) -> Iterator[Servers]:
    """The servers of this folder: those that run, or else started now, and stopped when the last user leaves.

    A URL that is given takes the place of its server. If not `durable`, a power cut may lose data.
    Raises EmbeddedError.
    """
    postgres = partial(packaged_servers.postgres, durable=durable)
    makes = [make for make, url in ((postgres, database_url), (packaged_servers.valkey, redis_url)) if not url]
    if database_url and redis_url:
        yield Servers(database_url, redis_url)
        return
    packaged_servers.prepare(data_dir)
    children: list[subprocess.Popen[bytes]] = []
    with (data_dir / "servers.lock").open("w") as lock:

        def arrive() -> Servers | None:
            if hold(lock, fcntl.LOCK_SH) and (running := find(data_dir, database_url, redis_url)):
                return running
            if hold(lock, fcntl.LOCK_EX) and not find(data_dir, database_url, redis_url):
                children.extend(_start_all([make(data_dir) for make in makes]))
            return None

        if not (running := poll(arrive, START_SECONDS)):
            raise EmbeddedError(f"The servers in {data_dir} are in use, but don't answer; their logs are there")
        try:
            yield running
        finally:
            if hold(lock, fcntl.LOCK_EX):
                _stop_all([make(data_dir) for make in makes], children)


@contextmanager
def owning(data_dir: Path, timeout_seconds: float) -> Iterator[Callable[[], None]]:
    """For `windback up`: holds the servers alone. Yields a function to call when they answer; after it others may use
    them. Raises EmbeddedError if another command still uses them after the time-out."""
    packaged_servers.prepare(data_dir)
    with (data_dir / "servers.lock").open("w") as lock:
        if not poll(lambda: hold(lock, fcntl.LOCK_EX), timeout_seconds):
            raise EmbeddedError(f"Another windback command uses the servers in {data_dir}; start again when it is done")
        yield lambda: fcntl.flock(lock, fcntl.LOCK_SH)


def stop(server: Server) -> None:
    """Stop the process on this server's folder, by whatever command it was started; kill it after STOP_SECONDS."""
    if process := _process(server):
        with suppress(packaged_servers.load("psutil").NoSuchProcess):
            process.send_signal(server.stop_signal)
            if not poll(lambda: _over(process), STOP_SECONDS):
                process.kill()
                poll(lambda: _over(process), STOP_SECONDS)


def trouble(url: str) -> str | None:
    """Why the server at this URL does not answer, in one line; None if it does."""
    try:
        if url.startswith("postgres"):
            connect(url).close()
        else:
            once = Retry(NoBackoff(), 0)
            with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3, retry=once) as client:
                client.ping()
    except (psycopg.Error, redis.RedisError, OSError, ValueError) as error:
        return first_line(error)
    return None


def _start_all(wanted: list[Server]) -> list[subprocess.Popen[bytes]]:
    children: list[subprocess.Popen[bytes]] = []
    try:
        for server in wanted:
            children.append(_start(server))
    except BaseException:
        _stop_all(wanted, children)
        raise
    return children


def _stop_all(servers: list[Server], children: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        stop(server)
    for child in children:
        child.wait()


def _start(server: Server) -> subprocess.Popen[bytes]:
    """Start and wait until it answers. PostgreSQL refuses as long as a process of a killed one lingers: try again."""
    stop(server)
    for _ in range(START_ATTEMPTS):
        with packaged_servers.launching(server) as how:
            child = subprocess.Popen(server.argv, start_new_session=True, **how)
        if _answers(child, server):
            return child
        stop(server)
        child.wait()
        time.sleep(0.3)
    raise EmbeddedError(f"{server.name} does not start: {last_words(server)} (its log: {server.log})")


def _answers(child: subprocess.Popen[bytes], server: Server) -> bool:
    poll(lambda: child.poll() is not None or not trouble(server.url), START_SECONDS)
    return child.poll() is None and not trouble(server.url)


def poll(condition: Callable[[], T], timeout_seconds: float) -> T:
    """The first true value of the condition, or its last false one when the time is up."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return value


def hold(file: IO[str], kind: int) -> bool:
    """Take an flock of this kind on an open file, unless another process is in the way."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _process(server: Server) -> Any:
    """The psutil.Process of the pid file, or None; also if the number belongs to another one by now."""
    psutil = packaged_servers.load("psutil")
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(server.locks[0].read_text().split()[0]))
        if process.cwd() == str(server.folder) and process.name() in server.argv[0]:
            return process
    return None


def _over(process: Any) -> bool:
    psutil = packaged_servers.load("psutil")
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)  # whose parent has not noticed yet
    except psutil.NoSuchProcess:
        return True
