"""`windback demo` against a running service: in, again, and out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from tests.acceptance.line import Line, line
from tests.waiting import wait_until
from tests.workers.events import count, event
from workers.accounts import keys
from workers.buffer.lanes import LANES, Lane
from workers.settings import Settings
from workers.store import Connection

WINDBACK = [sys.executable, "-c", "from api.cli import main; main()"]


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[Line]:
    with line(settings, tmp_path / "line.log") as made:
        yield made


def windback(*arguments: str) -> str:
    done = subprocess.run([*WINDBACK, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _settled(redis: Redis, lane: Lane) -> bool:
    accepted, settled = redis.hmget(lane.ledger, "accepted", "settled")
    return bool(accepted == settled)


def test_a_company_comes_is_not_doubled_and_goes(running: Line, connection: Connection, redis: Redis) -> None:
    """Every customer has a risk when the command ends, the past is rebuilt, and a real customer is left alone."""
    running.start()
    key = keys.create(connection, redis, "acme").secret
    service = ["--url", running.url, "--api-key", key]
    with httpx2.Client(base_url=running.url, headers={"X-API-Key": key}, timeout=30) as client:
        client.post("/api/v1/track", json=event())
        wait_until(lambda: client.get("/api/v1/customers").json()["customers"], timeout=30)
        output = windback("demo", *service, "--customers", "40")
        assert "40 customers" in output
        assert "customers of its own (1)" in output
        listed = client.get("/api/v1/customers?limit=1000").json()["customers"]
        assert len(listed) == 41
        assert all(customer["risk"] for customer in listed)
        stored = count(connection, "events")
        assert stored > 2000
        wait_until(lambda: count(connection, "rebuilds") == 0, timeout=60)
        assert count(connection, "risk_rebuilt") > 300

        windback("demo", *service, "--customers", "40")
        wait_until(lambda: all(_settled(redis, lane) for lane in LANES.values()), timeout=60)
        assert count(connection, "events") == stored

        assert f"40 demo customers erased, and {stored - 1:,} events" in windback("demo", *service, "--remove")
        assert [customer["email"] for customer in client.get("/api/v1/customers").json()["customers"]] == [
            "jane@example.com"
        ]
        assert count(connection, "events") == 1
        assert "no demo customers" in windback("demo", *service, "--remove")


def test_a_key_that_does_not_work_is_told_in_one_line(running: Line, connection: Connection, redis: Redis) -> None:
    keys.create(connection, redis, "acme")  # until there are keys in Redis, none is called wrong
    running.start("web")
    command = [*WINDBACK, "demo", "--url", running.url, "--api-key", "sk_live_x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "key" in done.stderr
