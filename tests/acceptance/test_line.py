"""The Procfile's own commands as processes."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from redis import Redis

from tests.acceptance.line import Line, line
from tests.waiting import wait_until
from tests.workers.events import count, event
from workers.accounts import keys
from workers.buffer.lanes import HISTORY, LIVE
from workers.settings import Settings
from workers.store import Connection

JANE = "/api/v1/customers/jane@example.com"


@pytest.fixture
def client(running: Line, connection: Connection, redis: Redis) -> Iterator[httpx2.Client]:
    """A client of the line, with a key."""
    key = keys.create(connection, redis, "acme")
    with httpx2.Client(base_url=running.url, headers={"X-API-Key": key.secret}, timeout=10) as made:
        yield made


def batches(number: int, **fields: Any) -> list[dict[str, Any]]:
    """So many batches of 100 events of 50 customers, no two of them the same."""
    return [
        {
            "events": [
                event(customer_email=f"c{n % 50}@example.com", properties={"batch": batch, "n": n}, **fields)
                for n in range(100)
            ]
        }
        for batch in range(number)
    ]


def post(client: httpx2.Client, bodies: list[dict[str, Any]]) -> None:
    def one(body: dict[str, Any]) -> None:
        assert client.post("/api/v1/track", json=body).content == b'{"status":"ok"}'

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, bodies))


def empty(redis: Redis) -> bool:
    return not redis.xlen(LIVE.stream) and not redis.xlen(HISTORY.stream)


def test_an_event_becomes_a_risk_within_a_second(running: Line, client: httpx2.Client, tmp_path: Path) -> None:
    """From the post to the customer's risk, over all processes (the bound here is for a busy machine)."""
    running.start()
    assert client.post("/api/v1/track", json=event()).status_code == 200  # the first one warms up
    wait_until(lambda: client.get(JANE).status_code == 200 and client.get(JANE).json()["risk"], timeout=20)
    other = event(customer_email="john@example.com", timestamp="2025-12-01T10:00:00Z")
    began = time.monotonic()
    client.post("/api/v1/track", json=other)
    john = JANE.replace("jane", "john")
    wait_until(lambda: client.get(john).status_code == 200 and client.get(john).json()["risk"], timeout=20)
    assert time.monotonic() - began < 10
    running.stop()
    output = (tmp_path / "line.log").read_text()
    assert "ingested" in output
    assert client.headers["X-API-Key"] not in output
    assert "example.com" not in output  # nobody's address is in a log
    codes = {name: process.returncode for name, process in running.processes.items()}
    assert codes.pop("web") in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it was sent
    assert set(codes.values()) == {0}


@pytest.mark.parametrize("timestamps", [{}, {"timestamp": "2025-12-01T10:00:00Z"}], ids=["live", "history"])
def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    running: Line, client: httpx2.Client, connection: Connection, redis: Redis, timestamps: dict[str, Any]
) -> None:
    """`kill -9` in the middle of a load, several times: in the end every event is stored exactly once."""
    worker = "import" if timestamps else "ingest"
    running.start()
    post(client, batches(30, **timestamps))
    for _ in range(3):
        wait_until(partial(_more_than, connection, count(connection, "events"), redis))
        running.kill(worker)
        post(client, batches(30, **timestamps))
        running.start(worker)
    wait_until(lambda: empty(redis), timeout=60)
    expected = 3000 if timestamps else 4 * 3000  # with a timestamp, what was sent again is the same event
    assert count(connection, "events") == expected
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchall() == [(expected,)]
    ledger = redis.hgetall((HISTORY if timestamps else LIVE).ledger)
    assert ledger == {b"accepted": b"12000", b"settled": b"12000"}


def _more_than(connection: Connection, events: int, redis: Redis) -> bool:
    return count(connection, "events") > events or empty(redis)


def test_every_customer_has_a_risk_in_the_end(running: Line, client: httpx2.Client, connection: Connection) -> None:
    running.start()
    post(client, batches(10))
    unscored = "SELECT count(*) FROM customers WHERE level IS NULL OR scored_at < last_seen"

    def all_scored() -> bool:
        row = connection.execute(unscored).fetchone()
        return count(connection, "customers") == 50 and row == (0,)

    wait_until(all_scored, timeout=30)


def test_events_are_taken_while_nobody_works_and_stored_when_somebody_does(
    running: Line, client: httpx2.Client, connection: Connection, redis: Redis
) -> None:
    running.start("web")
    post(client, batches(5))
    assert count(connection, "events") == 0
    redis.delete("windback:rq:queue:ingest")  # and even the tickets are lost
    running.start("ingest", "clock")
    wait_until(lambda: count(connection, "events") == 500, timeout=30)


def test_a_wrong_setting_stops_the_start_and_is_named(settings: Settings, tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(settings, database_url="mysql://x")
    for name in ("web", "ingest", "clock"):
        with line(wrong, tmp_path / f"{name}.log") as stopped:
            assert stopped.launch(name).wait(timeout=20) == 1
        output = (tmp_path / f"{name}.log").read_text().strip()
        assert output == "Error: DATABASE_URL is wrong: it must begin with postgresql:// or postgres://"
