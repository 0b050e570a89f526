"""Totals: whatever happens in which order, they are what a count of everything says."""

import random
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.workers.events import event, push_events
from tests.workers.upkeep.counting import (
    NAMES,
    assert_right,
    customers_by_day,
    levels,
    levels_by_risks,
    names_sent,
    rows,
    series_by_day,
    some_events,
    store,
)
from workers.buffer.lanes import HISTORY
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import rescore
from workers.risk.rebuild import rebuild_batch
from workers.store import Connection, connect, sql
from workers.store.locks import Lock, holding
from workers.store.migrate import migrations
from workers.upkeep import erasure, totals
from workers.upkeep.snapshots import LastTally


@pytest.mark.parametrize("seed", range(6))
def test_totals_are_exact_whatever_happens_in_which_order(process: Process, connection: Connection, seed: int) -> None:
    """Late events, events of the past, tallies at any time, erasures, newcomers, rebuilt pasts."""
    chance = random.Random(seed)
    for _ in range(12):
        store(process, *some_events(chance, chance.choice([1, 3, 20])))
        if chance.random() < 0.5:
            totals.tally(connection)
        if chance.random() < 0.5:
            rescore.drain(process)
        if chance.random() < 0.3:
            rebuild_batch(process)
        if chance.random() < 0.25:
            with (
                connect(process.settings.database_url or "") as other,
                holding(other, Lock.TOTALS) if seed % 2 else nullcontext(),
            ):
                erasure.erase(connection, 1, f"c{chance.randrange(6)}@example.com")
    totals.tally(connection)
    assert_right(connection)
    assert levels(connection) == levels_by_risks(connection)


def test_what_a_transaction_under_way_stores_is_tallied_when_it_has_ended(
    process: Process, connection: Connection, database_url: str
) -> None:
    """It began before a tally, and was committed after: in the order of their numbers it is an old one."""
    store(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    insert = """
        WITH known AS MATERIALIZED (SELECT customer_id FROM customers)
        INSERT INTO events (customer_id, occurred_at, event_key, event, received_at)
        SELECT customer_id, %(at)s, 7, 'login', %(at)s FROM known
    """
    count = """
        WITH known AS MATERIALIZED (SELECT customer_id FROM customers)
        INSERT INTO customer_days SELECT customer_id, %(at)s::date, 'login', '', 1, 0, %(at)s FROM known
    """
    with connect(database_url) as slow, slow.transaction():
        for statement in (insert, count):
            slow.execute(statement, {"at": datetime(2025, 12, 3, 10, tzinfo=UTC)})
        store(process, event(timestamp="2025-12-02"))
        totals.tally(connection)
        assert_right(connection)
    totals.tally(connection)
    assert_right(connection)
    assert rows(connection, "SELECT day FROM event_days")[-1] == (date(2025, 12, 3),)


def test_a_tally_that_fails_half_way_has_not_happened(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    store(process, event(timestamp="2025-12-02"))
    connection.execute("UPDATE tallied SET worked_seconds = 0")

    def fail(name: str) -> Any:
        return "SELECT 1 / 0" if name == "note_tally" else sql(name)

    monkeypatch.setattr(totals, "sql", fail)
    totals.drain(process)
    monkeypatch.setattr(totals, "sql", sql)
    assert rows(connection, "SELECT day FROM event_days") == [(date(2025, 12, 1),)]
    totals.tally(connection)
    assert_right(connection)


def test_one_tallies_at_a_time(process: Process, connection: Connection, database_url: str) -> None:
    store(process, event())
    with connect(database_url) as other, holding(other, Lock.TOTALS) as mine:
        assert mine
        assert not totals.tally(connection)
    assert totals.tally(connection)
    assert_right(connection)


def test_a_flood_of_events_is_tallied_beside_the_job(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals.tally(connection)
    connection.execute("UPDATE tallied SET worked_seconds = 0")
    monkeypatch.setattr(totals, "MOST_EVENTS", 3)
    store(process, *[event(timestamp=f"2025-12-0{day}") for day in range(1, 8)])
    totals.drain(process)
    wait_until(lambda: rows(connection, "SELECT day FROM event_days"), 60)
    assert_right(connection)


def test_who_worked_rests(process: Process, connection: Connection) -> None:
    """In proportion: a tally that took a second is not followed by another for a while."""
    store(process, event(timestamp="2025-12-01"))
    totals.drain(process)
    connection.execute("UPDATE tallied SET worked_seconds = 1, at = now()")
    store(process, event(timestamp="2025-12-02"))
    totals.drain(process)
    assert not totals.is_due(process)
    assert rows(connection, "SELECT day FROM event_days") == [(date(2025, 12, 1),)]
    connection.execute("UPDATE tallied SET at = now() - interval '1 hour'")
    assert totals.is_due(process)
    totals.drain(process)
    assert_right(connection)


def test_it_rests_longer_while_events_wait_to_be_store(process: Process, connection: Connection) -> None:
    """What an import costs is bounded, and so is how long its counts are missing once it is through."""
    store(process, event(timestamp="2025-12-01"))
    totals.drain(process)
    connection.execute("UPDATE tallied SET worked_seconds = 10, at = now() - interval '6 seconds'")
    store(process, event(timestamp="2025-12-02"))
    push_events(process.redis, event(), lane=HISTORY)
    assert not totals.is_due(process)
    connection.execute("UPDATE tallied SET at = now() - interval '61 seconds'")
    assert totals.is_due(process)
    connection.execute("UPDATE tallied SET at = now() - interval '6 seconds'")
    drain(process, HISTORY)
    assert totals.is_due(process)


@pytest.mark.parametrize(("worked", "rest"), [(0.1, 5), (1, 50), (10, 60), (60, 60), (120, 30), (600, 6)])
def test_while_events_wait_the_rest_is_long_and_shorter_the_more_there_was_to_tally(worked: float, rest: float) -> None:
    """So the totals follow a stream at any rate that a tally can follow."""
    last = LastTally("1:1:", 1, 1, False, rest - 0.1, worked)
    assert totals.must_rest(last, busy=True)
    assert not totals.must_rest(last._replace(rested_seconds=rest + 0.1), busy=True)


def test_days_that_an_earlier_version_has_tallied_are_counted_by_their_returns(
    process: Process, connection: Connection
) -> None:
    """It knows no customers of a day; while a database is upgraded, its processes go on."""
    store(process, *(event(timestamp=f"2025-12-0{day}") for day in (1, 2, 3)), event(timestamp="2025-12-02T12:00"))
    totals.tally(connection)
    connection.execute("UPDATE event_days SET customers = 0, counted = 0 WHERE day < '2025-12-03'")
    assert names_sent(connection) == rows(connection, NAMES)
    assert [row[2] for row in series_by_day(connection, "login")] == [1, 1, 1]
    store(process, event(timestamp="2025-12-02T13:00"), event(timestamp="2025-12-02", customer_email="joe@example.com"))
    totals.tally(connection)
    assert names_sent(connection) == rows(connection, NAMES)
    assert series_by_day(connection, "login") == customers_by_day(connection, "login")


def test_a_migration_counts_the_customers_of_days_that_were_tallied_before(
    process: Process, connection: Connection
) -> None:
    store(process, *some_events(random.Random(1), 60))
    totals.tally(connection)
    connection.execute("UPDATE event_days SET customers = 0, counted = 0")
    (migration,) = (each for each in migrations() if each.name == "count_event_day_customers")
    connection.execute(migration.sql)
    assert_right(connection)


def test_days_that_are_pruned_leave_the_rest_right(process: Process, connection: Connection) -> None:
    now = datetime.now(UTC).replace(hour=12)
    store(process, *[event(timestamp=(now - timedelta(days=day)).isoformat()) for day in (9, 6, 3, 1)])
    totals.tally(connection)
    cut = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
    totals.prune(connection, cut, cut)
    connection.execute("DELETE FROM customer_days WHERE day < %s", [cut.date()])
    connection.execute("DELETE FROM events WHERE occurred_at < %s", [cut])
    assert_right(connection)
    erasure.erase(connection, 1, "jane@example.com")
    assert_right(connection)
    assert rows(connection, "SELECT * FROM event_returns") == []


def test_the_new_days_of_an_import_are_not_compared_each_with_each(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner takes them to be few: tens of thousands would take minutes."""
    totals.tally(connection)
    plan: list[str] = []

    def explained(name: str) -> Any:
        if name == "tally_days":
            plan.extend(line for (line,) in connection.execute("EXPLAIN " + sql(name)))
        return sql(name)

    monkeypatch.setattr(totals, "sql", explained)
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(100)]
    store(process, *(event(timestamp=moment.isoformat()) for moment in moments))
    totals.tally(connection)
    assert any("new_days" in line for line in plan)
    assert not any("Join Filter" in line for line in plan)
    assert_right(connection)
