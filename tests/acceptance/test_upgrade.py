"""A schema change while events come in: nothing is lost, and the line hardly waits."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from tests.acceptance.line import Line, line
from tests.waiting import wait_until
from tests.workers.events import count
from workers.accounts import keys
from workers.buffer.lanes import HISTORY, LIVE
from workers.settings import Settings
from workers.store import Connection, connect, migrate

MIGRATE = """
from pathlib import Path
from workers.store import migrate
migrate.FOLDER = Path({folder!r})
from api.cli import main
main(["migrate"])
"""
CHANGES = {
    "9001_columns": """
        ALTER TABLE events ADD COLUMN note text NOT NULL DEFAULT 'none';
        ALTER TABLE customers ADD COLUMN note text NOT NULL DEFAULT 'none';
        CREATE INDEX customers_note ON customers (note);
    """,
    "9002_an_index": """-- no transaction
        DROP INDEX CONCURRENTLY IF EXISTS events_by_name;
        CREATE INDEX CONCURRENTLY events_by_name ON events (event, occurred_at);
    """,
    "9003_another_type": "ALTER TABLE customer_days ALTER COLUMN n TYPE bigint;",
}
PACE_SECONDS = 0.02  # between two requests of a producer
READ = ("/customers?limit=5", "/customers/c1@example.com", "/customers/c1@example.com/events", "/analytics/events")


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[Line]:
    with line(settings, tmp_path / "line.log") as made:
        made.start()
        yield made


@pytest.fixture
def upgrade(settings: Settings, tmp_path: Path) -> list[str]:
    """The command that brings the database to the schema of a later version."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for migration in migrate.migrations():
        (folder / f"{migration.version:04}_{migration.name}.sql").write_text(migration.sql)
    for name, change in CHANGES.items():
        (folder / f"{name}.sql").write_text(change)
    return [sys.executable, "-c", MIGRATE.format(folder=str(folder))]


class Producer(threading.Thread):
    """Tracks one event after the other, and reads; counts what was answered ok, keeps what was not."""

    def __init__(self, url: str, key: str, number: int) -> None:
        super().__init__()
        self.acknowledged = 0
        self.trouble: list[str] = []
        self.stopping = threading.Event()
        self._number = number
        self._client = httpx2.Client(base_url=f"{url}/api/v1", headers={"X-API-Key": key}, timeout=30)

    def run(self) -> None:
        with self._client:
            while not self.stopping.wait(PACE_SECONDS):
                self._track(f"{self._number}-{self.acknowledged}", f"c{self.acknowledged % 50}@example.com")
                self._look(READ[self.acknowledged % len(READ)])

    def _track(self, event_id: str, email: str) -> None:
        event = {"event": "login", "customer_email": email, "event_id": event_id}
        answer = self._client.post("/track", json=event)
        self.acknowledged += answer.status_code == 200
        if answer.status_code != 200:
            self.trouble.append(answer.text)

    def _look(self, path: str) -> None:
        answer = self._client.get(path)
        if answer.status_code not in (200, 404):  # 404: before the first event is stored
            self.trouble.append(f"{path}: {answer.text}")


@contextmanager
def load(url: str, key: str) -> Iterator[list[Producer]]:
    producers = [Producer(url, key, number) for number in range(3)]
    for producer in producers:
        producer.start()
    try:
        yield producers
    finally:
        for producer in producers:
            producer.stopping.set()
        for producer in producers:
            producer.join()


def test_a_schema_change_under_load_loses_nothing(
    running: Line, settings: Settings, connection: Connection, redis: Redis, upgrade: list[str]
) -> None:
    """While somebody reads a table for long the change waits, and events are stored all the same; then it happens, and
    the processes of the old version go on: everything that was acknowledged is stored once, and no reader notices."""
    key = keys.create(connection, redis, "acme").secret
    assert settings.database_url
    with load(running.url, key) as producers:
        wait_until(lambda: count(connection, "events") > 300, timeout=60)  # by now all queries are prepared
        with reading(settings.database_url) as reader, started(upgrade, running.environment) as command:
            wait_until(lambda: waits(connection), timeout=30)
            for _ in range(3):
                wait_until(partial(more_than, connection, count(connection, "events")), timeout=30)
            assert command.poll() is None
            reader.rollback()
            output = command.communicate(timeout=60)[0]
        assert command.returncode == 0
        assert output.split("\n")[:3] == [f"applied {name.replace('_', ' ', 1)}" for name in CHANGES]
        wait_until(partial(more_than, connection, count(connection, "events") + 300), timeout=60)
    assert [trouble for producer in producers for trouble in producer.trouble] == []
    acknowledged = sum(producer.acknowledged for producer in producers)
    wait_until(lambda: not redis.xlen(LIVE.stream) and not redis.xlen(HISTORY.stream), timeout=60)
    assert count(connection, "events") == count(connection, "event_ids") == acknowledged
    assert connection.execute("SELECT sum(n), pg_typeof(max(n))::text FROM customer_days").fetchall() == [
        (acknowledged, "bigint")
    ]
    assert count(connection, "dead_letters") == 0
    unscored = "SELECT count(*) FROM customers WHERE note = 'none' AND (level IS NULL OR rescore_at <= now())"
    wait_until(lambda: connection.execute(unscored).fetchone() == (0,), timeout=60)


@contextmanager
def reading(database_url: str) -> Iterator[Connection]:
    """Somebody who reads the events for long."""
    with connect(database_url) as reader:
        reader.execute("BEGIN; SELECT count(*) FROM events")
        yield reader


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def more_than(connection: Connection, events: int) -> bool:
    return count(connection, "events") > events


def waits(connection: Connection) -> bool:
    """True if a change of a table waits for its lock."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%ALTER TABLE events%' AND wait_event_type = 'Lock'"
    ).fetchone()
    return row != (0,)
