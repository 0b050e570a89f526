"""The checks that `windback up` makes before it starts anything."""

import errno
import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from api.server import listening
from api.up import embedded, packaged_servers


class UpError(Exception):
    """`windback up` can't go on. The message names the cause and the remedy."""


class Plan(NamedTuple):
    """The servers and processes to run, and their addresses. A server whose URL is None is an embedded one."""

    host: str
    port: int
    data_dir: Path
    workers: int
    database_url: str | None
    redis_url: str | None
    cells: int | None = None  # None: as many as the data folder has

    @property
    def reached(self) -> str:
        """The address to connect to, which a wildcard is not."""
        return "127.0.0.1" if self.host in ("0.0.0.0", *listening.ANY) else self.host  # noqa: S104

    @property
    def url(self) -> str:
        return f"http://{f'[{self.reached}]' if ':' in self.reached else self.reached}:{self.port}"


def running(data_dir: Path) -> str | None:
    """The URL of the `windback up` that runs on this data folder, if there is one."""
    note = _read_lock(data_dir)
    return note.partition("\n")[0] if note else None


def uses_database(data_dir: Path, database_url: str) -> bool:
    """Returns True if the `windback up` that runs on this data folder uses this database."""
    return (_read_lock(data_dir) or "").partition("\n")[2] == _mark(database_url)


def _read_lock(data_dir: Path) -> str | None:
    with suppress(OSError), (data_dir / "lock").open() as lock:
        if not embedded.hold(lock, fcntl.LOCK_SH):
            return lock.read()
    return None


def _mark(database_url: str | None) -> str:
    """Returns a fingerprint of a database, without its password."""
    return hashlib.sha256(database_url.encode()).hexdigest() if database_url else ""


def check_urls(plan: Plan) -> None:
    """Raise UpError unless the servers of the given URLs answer."""
    for name, url in (("DATABASE_URL", plan.database_url), ("REDIS_URL", plan.redis_url)):
        if url and (reason := embedded.trouble(url)):
            raise UpError(f"{name}: {reason}")


@contextmanager
def alone(plan: Plan) -> Iterator[bool]:
    """Be the only one on the data folder. Yields whether the last one was killed."""
    try:
        packaged_servers.prepare(plan.data_dir)
        lock = (plan.data_dir / "lock").open("a+")
    except OSError as error:
        raise UpError(f"--data-dir {plan.data_dir} can't be used: {error.strerror}") from None
    with lock:
        if not embedded.poll(lambda: embedded.hold(lock, fcntl.LOCK_EX), 1.0):
            raise UpError(f"already running on {running(plan.data_dir)}")
        lock.seek(0)
        after_a_kill = bool(lock.read())
        lock.truncate(0)
        lock.write(f"{plan.url}\n{_mark(plan.database_url)}")
        lock.flush()
        try:
            yield after_a_kill
        finally:
            lock.truncate(0)


def check_port(plan: Plan, patience_seconds: float) -> None:
    """Raise UpError unless the address is free, or becomes so in this time."""
    deadline = time.monotonic() + patience_seconds
    while error := _refusal(plan):
        if error.errno != errno.EADDRINUSE:
            raise UpError(f"Can't listen on {plan.host} port {plan.port}: {error.strerror}")
        if time.monotonic() >= deadline:
            raise UpError(f"Port {plan.port} is in use; choose another with --port")
        time.sleep(0.1)


def _refusal(plan: Plan) -> OSError | None:
    """Why the address can't be listened on."""
    try:
        listening.close(listening.listen(plan.host, plan.port))
    except OSError as error:
        return error
    return None
