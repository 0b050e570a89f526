"""Everything that runs: durable servers of its own, and the Procfile's processes, kept up as a supervisor would."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import psycopg
from redis import Redis
from redis.exceptions import RedisError

from api.up import packaged_servers
from api.up.procfile import procfile
from scoring.model import PRIOR
from tests import nursery
from tests.acceptance.chaos.child import Child
from tests.acceptance.chaos.servers import Servers, Shape
from tests.nursery import Launched
from tests.ports import free_port
from tests.small_disk import Disk, mounted
from tests.waiting import wait_until
from workers import placement
from workers import settings as configuration
from workers.accounts import keys, models, renewals
from workers.accounts.models import Card
from workers.cells import Cell
from workers.learning import nightly
from workers.redis import command_client, redis_client
from workers.store import Connection, connect
from workers.tickets import JOBS

SINGLE = Shape()
ACCOUNTS = 5  # of a storm
RESTART_SECONDS = 0.2
DISK_MEGABYTES = 600  # of Redis
ERASED_WITHIN_SECONDS = 240.0
WINDBACK = (sys.executable, "-c", "from api.cli import main; main()")
PROCESSES = ("web", *(f"{kind}.{number}" for kind in (*JOBS, "clock") for number in (1, 2)))


class Plant:
    """The servers and processes, by name: `postgres`, `redis` and those of the Procfile, numbered where several run."""

    def __init__(self, folder: Path, settings: dict[str, str], disk: Disk | None, servers: Servers) -> None:
        self.folder, self.servers = folder, servers
        self.database_url, self.redis_url = servers.database_url, servers.redis_url
        self.port = free_port()
        self.log = folder / "line.log"
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "PORT": str(self.port),
            "WINDBACK_HOST": "127.0.0.1",
            "WINDBACK_GRACE_SECONDS": "0",
            "WINDBACK_LOG_FORMAT": "json",
            "WINDBACK_DATA_DIR": str(folder),
            "WINDBACK_DISK_FREE_BYTES": "0",  # so that Redis writes short
            **settings,
            **servers.settings,
        }
        self.settings = configuration.load(self.environment)
        self.disk = disk
        self.children = servers.children
        self._ending = threading.Event()
        self._eye = threading.Thread(target=self._keep, name="supervisor", daemon=True)

    def start_servers(self) -> None:
        """Start Postgres, at the current schema, and Redis; and keep everything up from now on."""
        self._eye.start()
        for child in self.children.values():
            child.ensure()
        self.servers.form_cluster()
        wait_until(self.servers_answer, timeout=60)
        placement.migrate_all(self.settings)
        with self.connection() as connection, self.redis() as redis:
            self.key = keys.create(connection, redis, "chaos").secret

    def start(self, *names: str) -> None:
        """Start processes of the Procfile, all of PROCESSES unless told which."""
        for name in names or PROCESSES:
            self.children[name] = Child(name, partial(self._start_process, name))
            self.children[name].ensure()

    def connection(self) -> Connection:
        """A connection to home's Postgres."""
        return connect(self.database_url)

    @contextmanager
    def cell_connections(self) -> Iterator[list[Connection]]:
        """Yields a connection to each cell."""
        with ExitStack() as stack:
            yield [stack.enter_context(connect(cell)) for cell in self.settings.all_cells]

    def redis(self) -> Redis:
        """A client of home's Redis."""
        return redis_client(self.redis_url)

    @contextmanager
    def cell_buffers(self) -> Iterator[list[tuple[Cell, Redis]]]:
        """Yields a client of each cell's buffer."""
        with ExitStack() as stack:
            yield [(cell, stack.enter_context(redis_client(cell.buffer_url))) for cell in self.settings.all_cells]

    @contextmanager
    def all_redises(self) -> Iterator[list[Redis]]:
        """Yields a client of each Redis, of a cluster one of each master."""
        masters = [node for node in self.servers.nodes.all if node.is_master()] if self.servers.nodes else []
        urls = [url for url in self.servers.urls if not url.startswith("postgres")] + [node.url for node in masters]
        with ExitStack() as stack:
            yield [stack.enter_context(redis_client(url)) for url in urls]

    def servers_answer(self) -> bool:
        """Returns True if all servers answer."""
        return self.servers.answer()

    def is_ready(self) -> bool:
        """True if the door is open."""
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def redis_writes(self) -> bool:
        """True if Redis takes writes."""
        try:
            with command_client(self.redis_url) as redis:
                return bool(redis.set("windback:probe", 1, ex=60))
        except RedisError:
            return False

    def lose_redis(self) -> None:
        """Home's Redis is lost with its disk, and begins anew with nothing."""
        with self.children["redis"].down():
            for path in (self.folder / "redis").iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        wait_until(self.redis_writes, timeout=60)
        self.learn_nothing()

    def learn_nothing(self) -> None:
        """Have no account learn by night: the audit scores everybody by the formula."""
        with self.redis() as redis:
            for account_id in range(1, ACCOUNTS + 1):
                redis.set(nightly.turn_key(account_id), 1, ex=86_400)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Postgres only reads, for all sessions that begin a transaction from now on."""
        self._alter_system("SET default_transaction_read_only = on")
        try:
            yield
        finally:
            self._alter_system("RESET default_transaction_read_only")

    def _alter_system(self, change: str) -> None:
        def alter() -> bool:
            try:
                with self.connection() as connection:
                    connection.execute("SET default_transaction_read_only = off")
                    connection.execute(f"ALTER SYSTEM {change}")
                    connection.execute("SELECT pg_reload_conf()")
            except psycopg.Error:
                return False
            return True

        wait_until(alter, timeout=120)

    def track_and_erase(self, name: str, events: int) -> None:
        """Track events of a customer, by address and by user id, and erase it, each until it is answered for."""
        email = f"{name}@example.com"
        whose = {"user_id": name}, {"customer_email": email}
        sent = [{"event": "login", "event_id": f"{name}-{n}", **whose[n % 2]} for n in range(events)]
        path = f"http://127.0.0.1:{self.port}/api/v1"
        with httpx2.Client(headers={"X-API-Key": self.key}, timeout=30) as client:

            def finish(ask: Callable[[], httpx2.Response]) -> None:
                wait_until(lambda: answered(ask), timeout=ERASED_WITHIN_SECONDS)

            finish(lambda: client.post(f"{path}/identify", json={"user_id": name, "customer_email": email}))
            finish(lambda: client.post(f"{path}/track", json={"events": sent}))
            finish(lambda: client.delete(f"{path}/customers/{email}"))

    def switch_model(self) -> None:
        """Ask for a switch to a model that scores as the formula does, under another name."""

        def switch() -> bool:
            try:
                with self.connection() as connection, connection.transaction():
                    version = models.next_version(connection, 1)
                    model = msgspec.structs.replace(PRIOR, version=f"{PRIOR.kind}-{version}")
                    card = Card(PRIOR.version, model.version, "storm", 30, None, None, 0, 0, 0, {}, [])
                    models.save_models(connection, 1, [model], card)
                    renewals.request_switch(connection, 1, version)
            except psycopg.Error:
                return False
            return True

        wait_until(switch, timeout=120)

    def kinds(self, *kinds: str) -> list[Child]:
        """The children of these kinds."""
        return [child for name, child in self.children.items() if name.partition(".")[0] in kinds]

    def processes(self) -> list[Child]:
        """The children of the Procfile."""
        return [self.children[name] for name in PROCESSES if name in self.children]

    def run(self, *words: str) -> str:
        """The output of a command of `windback`."""
        return subprocess.run(
            [*WINDBACK, *words], check=True, capture_output=True, text=True, env=self.environment
        ).stdout

    def launch(self, *words: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command of `windback`, in a group of its own; its output goes to the log."""
        with (self.folder / "commands.log").open("ab") as commands_log:
            how = {"stdout": commands_log, "stderr": commands_log, "env": self.environment, **options}
            return subprocess.Popen([*WINDBACK, *words], start_new_session=True, **how)

    def enter(self, settings: dict[str, str]) -> None:
        """Change settings: of processes, from their next start on."""
        self.environment |= settings
        self.settings = configuration.load(self.environment)

    def close(self) -> None:
        """Stop everything; nothing of it is left."""
        self._ending.set()
        if self._eye.is_alive():
            self._eye.join()
        for child in reversed(self.children.values()):
            child.held = True
            child.kill()

    def _keep(self) -> None:
        while not self._ending.wait(RESTART_SECONDS):
            for child in list(self.children.values()):
                with suppress(OSError):
                    child.ensure()

    def _start_process(self, name: str) -> Launched:
        with self.log.open("ab") as log:
            return nursery.start(procfile()[name.partition(".")[0]], self.environment, log)


def answered(ask: Callable[[], httpx2.Response]) -> bool:
    """True if a request was done: after 503 or a lost connection it is sent again."""
    try:
        status = ask().status_code
    except httpx2.TransportError:
        return False
    assert status in (200, 202, 503), status
    return status != 503


@contextmanager
def plant(folder: Path, shape: Shape = SINGLE, **settings: str) -> Iterator[Plant]:
    """A plant with running servers and no process yet, that leaves nothing behind."""
    with ExitStack() as stack:
        packaged_servers.prepare(folder)
        disk = stack.enter_context(mounted(folder / "redis", DISK_MEGABYTES))
        planted = Plant(folder, settings, disk, Servers(folder, shape))
        stack.callback(planted.close)
        planted.start_servers()
        yield planted
