"""Real servers for whatever crosses Postgres or Redis, started once: each test has its own database, an empty Redis."""

import gc
import logging
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from redis import Redis

from api.up.embedded import Servers, servers
from tests import databases, nursery, order, prepared
from workers.buffer import arrivals
from workers.ingest import ingest
from workers.process import Process
from workers.redis import redis_client
from workers.risk import rescore
from workers.settings import Settings
from workers.store import Connection, connect

ROOM = 4 << 30  # bytes

# A machine that is busy with other things is no fault of an example.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Modules and tests stay until the end: the garbage collector need not look at them, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first."""
    order.arrange(items)


def pytest_sessionfinish() -> None:
    """Nothing is left of the processes that tests share."""
    nursery.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.GroupScheduling:
    """Processes take tests in groups."""
    return order.GroupScheduling(config, log)


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that run in this process don't wait for more work."""
    for module in (ingest, rescore):
        monkeypatch.setattr(module, "LINGER_SECONDS", 0.001)


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database is set up: to copy."""
    return prepared.find_or_make(tmp_path_factory)


@pytest.fixture(scope="session")
def all_servers(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Iterator[Servers]:
    """Postgres, with a migrated template database, and Redis."""
    with _in_memory(tmp_path_factory) as folder:
        prepared.copy(prepared_folder, folder)
        with servers(folder, databases.CITUS_URL, durable=False) as addresses:
            databases.make_template(addresses.database_url)
            with databases.keep_connection(addresses.database_url):
                yield addresses


@pytest.fixture(autouse=True)
def _history_is_in_once_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's import sends no next batch."""
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 0.0)


@pytest.fixture
def database_url(all_servers: Servers) -> Iterator[str]:
    """A database of one's own, at the current schema."""
    with databases.own_database(all_servers.database_url) as url:
        yield url


@pytest.fixture
def redis_url(all_servers: Servers) -> str:
    """An empty Redis."""
    with redis_client(all_servers.redis_url) as redis:
        redis.flushall()
    return all_servers.redis_url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a world of one's own."""
    return Settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of the empty Redis."""
    with redis_client(redis_url) as client:
        yield client


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to the database of one's own."""
    with connect(database_url) as opened:
        yield opened


@pytest.fixture
def process(settings: Settings, redis: Redis) -> Iterator[Process]:
    """The resources of a worker process."""
    process_here = Process(settings, redis)
    yield process_here
    process_here.disconnect()


@contextmanager
def _in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the servers: in memory where there is room, since each test makes and drops a database."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > ROOM:
        with tempfile.TemporaryDirectory(prefix="windback-", dir=memory, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("servers")


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Takes back afterwards what `logs.configure` did: its stream is closed when the test ends."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
