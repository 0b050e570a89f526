"""The nightly trainings, and the account whose turn it is."""

from typing import Any

import pytest

from tests.workers.events import count
from tests.workers.worlds import account, fill, world
from workers.learning import nightly
from workers.process import Process
from workers.store import Connection
from workers.store.locks import Lock, try_hold


def test_each_account_has_one_turn_a_night(process: Process, connection: Connection, acme: int) -> None:
    """Scores mature, and a model is learnt where there are enough new outcomes."""
    account(connection, "empty")
    nightly.run(process)
    assert count(connection, "trainings") == 1
    nightly.run(process)
    assert count(connection, "trainings") == 1
    process.redis.delete(nightly.turn_key(acme))
    nightly.run(process)
    assert count(connection, "trainings") == 1, "there were no new outcomes"
    process.redis.delete(nightly.turn_key(acme))
    connection.execute("UPDATE trainings SET trained_at = now() - interval '10 days'")
    nightly.run(process)
    assert count(connection, "trainings") == 2


def test_one_process_learns_at_a_time(process: Process, connection: Connection, acme: int) -> None:
    assert try_hold(connection, Lock.LEARNING)
    nightly.run(process)
    assert count(connection, "trainings") == 0


def test_an_account_that_fails_stops_no_other(
    process: Process, connection: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fill(connection, world(100, 120), "other")
    turns: list[int] = []

    def broken(connection: Connection, account_id: int, *rest: Any, **named: Any) -> None:
        turns.append(account_id)
        raise ValueError("broken")

    monkeypatch.setattr(nightly, "mature", broken)
    nightly.run(process)
    assert turns == [acme, other]


def test_the_clock_calls_once_an_account_is_ripe(process: Process, connection: Connection) -> None:
    nightly.issue_job(process)
    assert process.redis.llen("windback:rq:queue:score") == 0
    acme = fill(connection, world(20, 60))
    nightly.issue_job(process)
    assert process.redis.llen("windback:rq:queue:score") == 1
    process.redis.set(nightly.turn_key(acme), 1)
    nightly.issue_job(process)
    assert process.redis.llen("windback:rq:queue:score") == 1


def test_no_turn_begins_while_history_comes_in(process: Process, connection: Connection, acme: int) -> None:
    """Half of an import would be learnt from, and the night's turn be gone."""
    connection.execute("INSERT INTO rebuilds SELECT customer_id, first_seen FROM customers LIMIT 1")
    nightly.issue_job(process)
    assert process.redis.llen("windback:rq:queue:score") == 0
    connection.execute("DELETE FROM rebuilds")
    nightly.issue_job(process)
    assert process.redis.llen("windback:rq:queue:score") == 1


def test_the_job_starts_a_process_and_does_not_wait_for_it(
    process: Process, connection: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m workers train` finds its servers in the environment of the worker."""
    assert process.settings.database_url
    assert process.settings.redis_url
    monkeypatch.setenv("DATABASE_URL", process.settings.database_url)
    monkeypatch.setenv("REDIS_URL", process.settings.redis_url)
    thread = nightly.start(process)
    assert thread.is_alive()
    thread.join(50)
    assert count(connection, "trainings") == 1


def test_a_worker_that_stops_ends_what_it_has_started(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly, "COMMAND", ["sleep", "100"])
    thread = nightly.start(process)
    process.stopping.set()
    thread.join(10)
    assert not thread.is_alive()
