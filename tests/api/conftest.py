"""The service in this process, over real servers, and keys for it."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.command_line import Run, windback
from tests.waiting import wait_until
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.buffer import arrivals
from workers.buffer.lanes import LANES
from workers.ingest import ingest
from workers.process import Process
from workers.risk import rescore
from workers.settings import Settings
from workers.store import Connection
from workers.upkeep import totals


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The service, without a key."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def run(database_url: str, redis_url: str, tmp_path: Path) -> Run:
    """Run `windback` with servers of one's own."""
    return windback({"DATABASE_URL": database_url, "REDIS_URL": redis_url, "WINDBACK_DATA_DIR": str(tmp_path)})


@pytest.fixture
def key(connection: Connection, redis: Redis) -> NewKey:
    """A secret key of the account `acme`."""
    return keys.create(connection, redis, "acme")


@pytest.fixture
def acme(client: TestClient, key: NewKey) -> TestClient:
    """The service, with a secret key."""
    client.headers["X-API-Key"] = key.secret
    return client


@pytest.fixture
def work(process: Process, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Do what the workers would: store what is in the buffer, score who is due. History that is stored has arrived."""
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 0.0)

    def run() -> None:
        for lane in LANES.values():
            ingest.drain(process, lane)
        rescore.drain(process)
        totals.tally(process.connection())  # the last one may still rest

    return run


@pytest.fixture
def url(served: str) -> str:
    """The service behind a real web server."""
    return served


@pytest.fixture
def served(settings: Settings) -> Iterator[str]:
    """The address of a real web server with the service."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
