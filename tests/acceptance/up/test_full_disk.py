"""A disk that is full: track says so before Redis writes short, and what was answered ok is stored all the same."""

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.up import packaged_servers
from api.up.append_only import FOLDER
from tests.acceptance.up.process import Up, cleaned, family
from tests.small_disk import Disk, small_disk
from tests.waiting import wait_until
from tests.workers.events import event
from workers.redis import command_client
from workers.store import connect, only_row

LARGE = [
    event(customer_email=f"c{number}@example.com", properties={"note": secrets.token_hex(15_000)})
    for number in range(20)
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", 900) as made:
        yield made


def fill(up: Up, key: str) -> tuple[int, Any]:
    """Track until that is refused. Returns how many events were taken, and the refusal."""
    taken = 0
    while True:
        status, body = up.ask("POST", "/api/v1/track", {"events": LARGE}, X_API_Key=key)
        if status != 200:
            return taken, body
        taken += len(LARGE)


def tracks(up: Up, key: str) -> bool:
    try:
        return up.ask("POST", "/api/v1/track", event(), X_API_Key=key)[0] == 200
    except OSError:
        return False


def stored(up: Up) -> int:
    with connect(packaged_servers.urls(up.data_dir)[0]) as connection:
        return int(only_row(connection.execute("SELECT count(*) FROM events"))[0])


def halt(up: Up) -> None:
    """Nothing leaves the buffer any more."""
    for process in family(up.data_dir, "ingest"):
        process.send_signal(signal.SIGSTOP)


def go_on(up: Up) -> None:
    for process in family(up.data_dir, "ingest"):
        process.send_signal(signal.SIGCONT)


def test_the_door_refuses_before_the_disk_is_full(disk: Disk) -> None:
    with cleaned(Up(disk.path, settings={"WINDBACK_DISK_FREE_BYTES": "90000000"})) as up:
        key = up.ready()
        halt(up)
        disk.leave(110)
        taken, refusal = fill(up, key)
        assert refusal["code"] == "buffer_full"
        status, readiness = up.ask("GET", "/readyz")
        assert (status, "WINDBACK_DISK_FREE_BYTES" in readiness["message"]) == (503, True)
        with command_client(packaged_servers.urls(up.data_dir)[1]) as redis:
            assert redis.info("persistence")["aof_last_write_status"] == "ok"
        disk.resize(900)
        wait_until(lambda: tracks(up, key), timeout=60)
        go_on(up)
        wait_until(lambda: stored(up) == taken + 1, timeout=120)
        up.stop()


def test_a_disk_that_was_full_and_a_redis_that_was_killed_lose_nothing(disk: Disk) -> None:
    """Without the floor: Redis writes short, goes on when there is room, is killed, and starts again."""
    with cleaned(Up(disk.path, settings={"WINDBACK_DISK_FREE_BYTES": "0"})) as up:
        key = up.ready()
        halt(up)
        with command_client(packaged_servers.urls(up.data_dir)[1]) as redis:
            redis.bgrewriteaof()
            wait_until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], timeout=30)
        disk.leave(20)
        taken, refusal = fill(up, key)
        assert refusal["code"] == "buffer_unavailable"
        disk.resize(900)
        wait_until(lambda: tracks(up, key), timeout=60)
        (server,) = family(up.data_dir, "valkey")
        server.kill()
        wait_until(lambda: tracks(up, key), timeout=90)
        go_on(up)
        wait_until(lambda: stored(up) == taken + 2, timeout=120)
        assert list((up.data_dir / "redis" / FOLDER).glob("*.incr.aof"))
        up.stop()
