import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.pool import Pool
from api.reading import common
from tests.proxy import Proxy, proxy
from workers.accounts import keys
from workers.settings import Settings
from workers.store import Connection

LIST = "/api/v1/customers"


@pytest.fixture
def way(database_url: str) -> Iterator[Proxy]:
    """The service's way to Postgres."""
    with proxy(database_url) as made:
        yield made


@pytest.fixture
def reader(way: Proxy, settings: Settings, connection: Connection, redis: Redis) -> Iterator[TestClient]:
    """The service, whose way to Postgres can be cut, with a key."""
    app = create_app(msgspec.structs.replace(settings, database_url=way.url))
    with TestClient(app, raise_server_exceptions=False) as made:
        made.headers["X-API-Key"] = keys.create(connection, redis, "acme").secret
        yield made


def test_the_first_answer_after_a_restart_of_postgres_is_an_answer(reader: TestClient, way: Proxy) -> None:
    """Though every connection that it has is dead."""
    for _ in range(3):
        assert reader.get(LIST).status_code == 200
        way.cut()


def test_reading_goes_on_as_soon_as_an_outage_is_over(reader: TestClient, way: Proxy) -> None:
    """However often connecting has failed meanwhile, and tracking goes on all the time."""
    assert reader.get(LIST).status_code == 200
    way.go_away()
    for _ in range(2):
        refused = reader.get(LIST)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        sent = {"event": "login", "customer_email": "jane@example.com"}
        assert reader.post("/api/v1/track", json=sent).status_code == 200
    way.come_back()
    assert reader.get(LIST).status_code == 200


def test_a_postgres_that_hangs_is_given_up(
    reader: TestClient, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader.get(LIST).status_code == 200
    monkeypatch.setattr(common, "READ_SECONDS", 0.2)
    with connection.transaction():
        connection.execute("LOCK customers")
        assert reader.get(LIST).json()["code"] == "store_unavailable"
    monkeypatch.setattr(common, "READ_SECONDS", 30.0)
    assert reader.get(LIST).status_code == 200


def test_the_connection_that_was_used_last_is_used_next(settings: Settings) -> None:
    """Others stay idle: it has prepared what was asked before."""

    async def use() -> tuple[list[int], set[int]]:
        async with Pool(settings.home) as pool, AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(pool.connection())
            await stack.aclose()
            used = []
            for _ in range(4):
                async with pool.connection() as connection:
                    used.append(connection.info.backend_pid)
            async with pool.connection() as first, pool.connection() as second, pool.connection() as third:
                return used, {each.info.backend_pid for each in (first, second, third)}

    used, every = asyncio.run(use())
    assert len(set(used)) == 1
    assert len(every) == 3


LARGE = "SELECT count(*) FROM (SELECT md5(n::text) FROM generate_series(1, 20000) AS n ORDER BY 1 OFFSET 0) AS sorted"


def test_a_connection_keeps_the_memory_of_its_statements(settings: Settings) -> None:
    """Else each takes hundreds of page faults for what the one before has given back to the system."""

    async def count_faults() -> float:
        async with Pool(settings.home) as pool, pool.connection() as connection:
            for _ in range(3):
                await connection.execute(LARGE)
            before = _read_faults(connection.info.backend_pid)
            for _ in range(10):
                await connection.execute(LARGE)
            return (_read_faults(connection.info.backend_pid) - before) / 10

    assert asyncio.run(count_faults()) < 20


def _read_faults(pid: int) -> int:
    """The page faults of a process that were served from memory."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])
