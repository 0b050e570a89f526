"""The findings of `windback check`; its exit code is 1 if something must be fixed."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from api.commands import check
from tests.api.command_line import Run
from workers.store import Connection

NAMES = {
    "settings", "postgres", "postgres, durable", "postgres, writing", "schema", "clock of postgres",
    "redis", "redis, append-only", "redis, eviction", "clock of redis", "disk",
}  # fmt: skip


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def states(run: Run, **environment: str) -> tuple[int, dict[str, str]]:
    result = run("check --json", **environment)
    report: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, {row["name"]: row["status"] for row in report["checks"]}


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that write to the disk: those of the tests do not."""
    judge = check._check_durability
    monkeypatch.setattr(check, "_check_durability", lambda name, is_durable: judge(name, True))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room, whatever this machine's."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(100_000_000_000, 0, 100_000_000_000))


@pytest.mark.usefixtures("room", "durable")
def test_a_sound_installation_is_ok_on_one_screen(run: Run) -> None:
    screen = run("check")
    assert (screen.exit_code, screen.stderr) == (0, "")
    assert {line.split()[0] for line in screen.stdout.splitlines()} == {"ok"}
    assert states(run) == (0, dict.fromkeys(NAMES, "ok"))
    assert "PostgreSQL 18" in screen.stdout
    assert "Valkey 9" in screen.stdout


@pytest.mark.usefixtures("room")
def test_a_postgres_that_does_not_write_to_the_disk_is_named(run: Run) -> None:
    assert states(run)[1]["postgres, durable"] == "warning"
    assert "turn fsync and full_page_writes on" in run("check").stdout


@pytest.mark.usefixtures("room")
def test_a_redis_that_loses_events_must_be_fixed(run: Run, redis: Redis) -> None:
    config: Any = redis.config_get("appendonly", "maxmemory-policy")
    try:
        redis.config_set("appendonly", "no")
        redis.config_set("maxmemory-policy", "allkeys-lru")
        code, states_now = states(run)
    finally:
        for name, value in config.items():
            redis.config_set(name, value)
    assert (code, states_now["redis, append-only"], states_now["redis, eviction"]) == (1, "error", "error")


@pytest.mark.usefixtures("room")
def test_a_schema_of_before_must_be_migrated(run: Run, connection: Connection) -> None:
    connection.execute("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    code, states_now = states(run)
    assert (code, states_now["schema"]) == (1, "error")
    assert "windback migrate" in run("check").stdout
    assert states(run)[1]["schema"] == "error"  # it changes nothing


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    ("environment", "name", "status", "code"),
    [
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "postgres", "error", 1),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "redis", "error", 1),
        ({"PORT": "x"}, "settings", "error", 1),
        ({"WINDBACK_DATA_DIRR": "/x"}, "settings", "warning", 0),
    ],
)
def test_what_is_wrong_is_named(run: Run, environment: dict[str, str], name: str, status: str, code: int) -> None:
    exit_code, states_now = states(run, **environment)
    assert (exit_code, states_now[name]) == (code, status)


def test_no_installation_is_told(run: Run, tmp_path: Path) -> None:
    result = run("check --data-dir", str(tmp_path / "none"), DATABASE_URL="", REDIS_URL="")
    assert (result.exit_code, "There is no Windback in" in result.stdout) == (1, True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("skew", "status"), [(0.5, "ok"), (-5.0, "warning"), (3600.0, "error")])
def test_clocks_that_differ_are_told(skew: float, status: str) -> None:
    assert check._check_clock("clock", 1000.0 + skew, lambda: 1000.0).status == status


@pytest.mark.parametrize(("free", "status"), [(50, "ok"), (5, "warning"), (0.1, "error")])
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, status: str) -> None:
    usage = Usage(100_000_000_000, 0, int(free * 1e9))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert check._check_disk(tmp_path).status == status
