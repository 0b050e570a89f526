import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from click.testing import Result
from redis import Redis

from tests.api.command_line import Run
from tests.workers.events import event, push, push_events
from workers import heartbeat, lease
from workers.buffer.lanes import HISTORY, LIVE
from workers.heartbeat import Beat
from workers.store import Connection, faults


def says(redis: Redis, name: str, beat: Beat) -> None:
    redis.eval(heartbeat.BEAT, 1, heartbeat.WORKERS, name, msgspec.json.encode(beat))


def rows(result: Result) -> dict[str, str]:
    """The screen as what it says by name."""
    assert result.exit_code == 0, result.output
    return {line[:17].strip(): line[17:] for line in result.stdout.splitlines()}


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_service_that_has_done_nothing(run: Run) -> None:
    assert rows(run("status")) == {
        "buffer, live": "empty",
        "buffer, history": "empty",
        "workers, ingest": "none",
        "workers, import": "none",
        "workers, score": "none",
        "workers, deliver": "none",
        "clock": "none runs",
        "last stored": "never",
        "rescores": "none due",
        "ledger": "0 accepted = 0 stored + 0 duplicate + 0 dead + 0 erased + 0 in the buffer",
        "unaccounted": "0",
        "dead letters": "none",
        "tracking": "ok",
        "last training": "never",
        "redis": "ok",
        "postgres": "ok",
    }


def test_a_service_at_work(run: Run, redis: Redis, connection: Connection, work: Callable[[], None]) -> None:
    push_events(redis, event(timestamp="2025-12-01"), event(timestamp="2025-12-01"), event(properties={"a": "\0"}))
    push(redis, b"\xc1garbage", events=2)
    work()
    push_events(redis, event(), event(), lane=HISTORY)
    connection.execute("UPDATE customers SET rescore_at = now() - interval '2 minutes'")
    lease.hold(redis, "clock")
    connection.execute("INSERT INTO outages (account_id, began_at) VALUES (7, '2026-01-02T03:00Z')")
    connection.execute("INSERT INTO accounts (account_id, name) VALUES (7, 'acme')")
    connection.execute(
        """INSERT INTO trainings (account_id, trained_at, snapshots, card)
        VALUES (7, '2026-01-01', 1, '{"chosen": "prior-1"}'), (7, '2026-01-02', 1, '{"chosen": "additive-3"}')"""
    )
    says(redis, "one", Beat("ingest", 999, None, 12.3))
    says(redis, "two", Beat("ingest", 999, 4.0, None))
    says(redis, "three", Beat("score", 999, 400, 300, "Postgres can't do it now: it is away"))
    lines = rows(run("status"))
    assert lines["buffer, live"] == "empty"
    assert lines["buffer, history"].startswith("2 events wait, the first for 0.")
    assert lines["workers, ingest"] == "2, 1 busy, last progress 12.3 s ago"
    assert (lines["workers, import"], lines["workers, score"]) == ("none", "1, 1 busy, last progress 5 min ago")
    assert lines["stuck"].startswith("score three has got nothing done for 300 seconds (Postgres can't")
    assert lines["clock"] == "runs"
    assert lines["last stored"].endswith(" s ago")
    assert lines["rescores"].startswith("1 due, the first for 2 min")
    assert lines["ledger"] == "7 accepted = 1 stored + 1 duplicate + 3 dead + 0 erased + 2 in the buffer"
    assert lines["tracking"] == "account 7 out since 2026-01-02 03:00"
    assert lines["last training"] == "2026-01-02 00:00, acme: additive-3"
    assert lines["dead letters"] == "1 UntranslatableCharacter, 1 undecodable"


def test_the_same_for_programs(run: Run, redis: Redis) -> None:
    push_events(redis, event(), event())
    redis.delete(LIVE.stream)
    assert rows(run("status"))["unaccounted"] == "2 live"
    status = told(run("status", "--json"))
    assert status["ledger"]["accepted"] == status["ledger"]["unaccounted"] == 2
    assert status["buffer"]["live"] == {"events": 0, "oldest_seconds": 0.0, "unaccounted": 2}
    assert (status["due"], status["dead_letters"], status["postgres"]) == (
        {"customers": 0, "lag_seconds": 0.0},
        {},
        "ok",
    )


def test_postgres_may_be_away(run: Run) -> None:
    lines = rows(run("status", DATABASE_URL="postgresql://127.0.0.1:1/nowhere"))
    assert (lines["rescores"], lines["dead letters"], lines["ledger"][:10]) == ("unknown", "unknown", "0 accepted")
    assert lines["postgres"].startswith("doesn't answer: ")


def test_a_postgres_that_only_reads_is_named(run: Run, connection: Connection) -> None:
    """It answers all that is asked here, and stores nothing."""
    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    result = run("status")
    assert rows(result)["postgres"] == faults.READ_ONLY
    assert (rows(result)["rescores"], rows(result)["dead letters"]) == ("none due", "none")
    assert told(run("status", "--json"))["postgres"] == faults.READ_ONLY
    connection.execute("SET default_transaction_read_only = off")
    connection.execute(f"ALTER DATABASE {connection.info.dbname} RESET default_transaction_read_only")
    assert rows(run("status"))["postgres"] == "ok"


def test_where_nothing_runs_it_says_so_in_one_line(run: Run, tmp_path: Path) -> None:
    for result in (
        run("status", REDIS_URL="redis://127.0.0.1:1"),
        run("status", "--data-dir", str(tmp_path), REDIS_URL="", DATABASE_URL=""),
    ):
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: Nothing runs here: ")
        assert result.stderr.count("\n") == 1
        assert "windback up" in result.stderr


def test_a_wrong_setting_is_named(run: Run) -> None:
    result = run("status", REDIS_URL="http://x")
    assert (result.exit_code, "REDIS_URL is wrong" in result.stderr) == (1, True)
