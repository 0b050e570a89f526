import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis
from rq import Queue, SimpleWorker

from api.status import status
from tests.workers.events import event, push, push_events
from workers import clock
from workers.lanes import HISTORY, LIVE
from workers.store import Connection

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, redis_url: str, tmp_path: Path) -> Run:
    """Run `windback status` with servers of one's own."""

    def invoke(*arguments: str, **environment: str) -> Result:
        servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "WINDBACK_DATA_DIR": str(tmp_path)}
        return CliRunner().invoke(status, arguments, env=servers | environment)

    return invoke


def rows(result: Result) -> dict[str, str]:
    """The screen as what it says by name."""
    assert result.exit_code == 0, result.output
    return {line[:16].strip(): line[16:] for line in result.stdout.splitlines()}


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_service_that_has_done_nothing(run: Run) -> None:
    assert rows(run()) == {
        "buffer, live": "empty",
        "buffer, history": "empty",
        "workers": "ingest none, import none, score none",
        "clock": "none runs",
        "last stored": "never",
        "rescores": "none due",
        "ledger": "0 accepted = 0 stored + 0 duplicate + 0 dead + 0 erased + 0 in the buffer",
        "unaccounted": "0",
        "dead letters": "none",
        "postgres": "ok",
    }


def test_a_service_at_work(run: Run, redis: Redis, connection: Connection, work: Callable[[], None]) -> None:
    push_events(redis, event(timestamp="2025-12-01"), event(timestamp="2025-12-01"), event(properties={"a": "\0"}))
    push(redis, b"\xc1garbage", events=2)
    work()
    push_events(redis, event(), event(), lane=HISTORY)
    connection.execute("UPDATE customers SET rescore_at = now() - interval '2 minutes'")
    clock.holds_lease(redis, "clock")
    SimpleWorker([Queue(LIVE.queue, connection=redis)], connection=redis).register_birth()  # type: ignore[no-untyped-call]
    found = rows(run())
    assert found["buffer, live"] == "empty"
    assert found["buffer, history"].startswith("2 events wait, the first for 0.")
    assert found["workers"] == "ingest 1, import none, score none"
    assert found["clock"] == "runs"
    assert found["last stored"].endswith(" s ago")
    assert found["rescores"].startswith("1 due, the first for 0:02:0")
    assert found["ledger"] == "7 accepted = 1 stored + 1 duplicate + 3 dead + 0 erased + 2 in the buffer"
    assert found["dead letters"] == "1 UntranslatableCharacter, 1 undecodable"


def test_the_same_for_programs(run: Run, redis: Redis) -> None:
    push_events(redis, event(), event())
    redis.delete(LIVE.stream)
    found = told(run("--json"))
    assert found["ledger"]["accepted"] == found["ledger"]["unaccounted"] == 2
    assert found["buffer"]["live"] == {"events": 0, "oldest_seconds": 0.0}
    assert (found["due"], found["dead_letters"], found["postgres"]) == ({"customers": 0, "lag_seconds": 0.0}, {}, "ok")


def test_postgres_may_be_away(run: Run) -> None:
    found = rows(run(DATABASE_URL="postgresql://127.0.0.1:1/nowhere"))
    assert (found["rescores"], found["dead letters"], found["ledger"][:10]) == ("unknown", "unknown", "0 accepted")
    assert found["postgres"].startswith("doesn't answer: ")


def test_where_nothing_runs_it_says_so_in_one_line(run: Run, tmp_path: Path) -> None:
    for result in (
        run(REDIS_URL="redis://127.0.0.1:1"),
        run("--data-dir", str(tmp_path), REDIS_URL="", DATABASE_URL=""),
    ):
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: Nothing runs here: ")
        assert result.stderr.count("\n") == 1
        assert "windback up" in result.stderr


def test_a_wrong_setting_is_named(run: Run) -> None:
    result = run(REDIS_URL="http://x")
    assert (result.exit_code, "REDIS_URL is wrong" in result.stderr) == (1, True)
