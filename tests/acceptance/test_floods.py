"""Floods, and customers of whom everybody writes at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from tests.acceptance.chaos import audit
from tests.acceptance.line import Line
from tests.waiting import wait_until
from tests.workers.events import count, event
from workers.accounts import keys
from workers.buffer.lanes import HISTORY, LIVE
from workers.store import Connection

BATCH = 100
FLOOD_EVENTS, FLOOD_SECONDS = 10_000, 10.0
RESCORE_SECONDS = 5
COUNT_RESCORES = """
CREATE TABLE rescores (customer_id uuid);
CREATE FUNCTION note_rescore() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO rescores VALUES (new.customer_id); RETURN NULL; END';
CREATE TRIGGER note_rescore AFTER UPDATE OF scored_at ON customers FOR EACH ROW EXECUTE FUNCTION note_rescore();
"""


@pytest.fixture
def client(running: Line, connection: Connection, redis: Redis) -> Iterator[httpx2.Client]:
    """A client of the line, with a key."""
    key = keys.create(connection, redis, "acme")
    with httpx2.Client(base_url=running.url, headers={"X-API-Key": key.secret}, timeout=10) as made:
        yield made


def post(client: httpx2.Client, *events: dict[str, Any]) -> None:
    assert client.post("/api/v1/track", json={"events": events}).content == b'{"status":"ok"}'


def quiet(redis: Redis, connection: Connection) -> bool:
    """True if everything is stored and scored."""
    return not redis.xlen(LIVE.stream) and not redis.xlen(HISTORY.stream) and audit.quiet(connection)


def test_a_flood_for_one_customer_is_few_rescores(
    running: Line, client: httpx2.Client, connection: Connection, redis: Redis
) -> None:
    """10,000 events in 10 seconds: at most 4 rescores (more where it takes longer), and the last one knows them all."""
    connection.execute(COUNT_RESCORES)
    running.start()
    began, pause = time.monotonic(), threading.Event()
    for batch in range(FLOOD_EVENTS // BATCH):
        post(client, *(event(event="feature_used", properties={"n": batch * BATCH + n}) for n in range(BATCH)))
        pause.wait(began + (batch + 1) * FLOOD_SECONDS * BATCH / FLOOD_EVENTS - time.monotonic())
    took = time.monotonic() - began
    wait_until(lambda: quiet(redis, connection), timeout=60)
    stored = audit.rows(connection, audit.EVENTS)
    assert len(stored) == FLOOD_EVENTS
    assert list(audit.derived(connection, stored)) == []
    assert 2 <= count(connection, "rescores") <= 2 + took // RESCORE_SECONDS


def test_workers_side_by_side_over_the_same_customers(
    running: Line, client: httpx2.Client, connection: Connection, redis: Redis, tmp_path: Path
) -> None:
    """Four workers of the live lane and two of the other, with entries that all name the same five customers: none
    waits for another in a circle, and no count is lost."""
    running.start("web")
    bodies = [_mixed(batch) for batch in range(150)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda body: post(client, *body), [*bodies, *bodies[::10]]))
    running.start(*(f"ingest.{n}" for n in range(4)), "import.1", "import.2", "score.1", "score.2", "clock")
    wait_until(lambda: quiet(redis, connection), timeout=90)
    running.stop()
    stored = audit.rows(connection, audit.EVENTS)
    assert len(stored) == BATCH * len(bodies)
    assert list(audit.derived(connection, stored)) == []
    rows = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchall()
    assert rows == [(0,)]
    assert "deadlock" not in (tmp_path / "line.log").read_text()


def _mixed(batch: int) -> list[dict[str, Any]]:
    """A batch of live events with an event_id, or, every third, of those of the last days with a timestamp."""
    events = [
        event(event=("login", "feature_used")[n % 2], customer_email=f"c{(batch + n) % 5}@example.com", properties={})
        for n in range(BATCH)
    ]
    for n, sent in enumerate(events):
        sent["event_id"] = f"{batch}.{n}"
        if batch % 3 == 0:
            sent["timestamp"] = (datetime.now(UTC) - timedelta(days=1.1 + (batch + n) % 4)).isoformat()
    return events
