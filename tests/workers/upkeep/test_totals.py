"""Totals: whatever happens in which order, they are what a count of everything says."""

import random
import threading
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.workers.events import event, push_events
from workers.buffer.lanes import HISTORY
from workers.ingest import ingest
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import rescore
from workers.risk.rebuild import rebuild_some
from workers.store import Connection, connect, sql
from workers.upkeep import erasure, totals

DAYS = "SELECT event, day, sum(n) FROM customer_days GROUP BY 1, 2"
HOURS = """
    SELECT event, date_trunc('hour', least(occurred_at, received_at)), count(*), count(DISTINCT customer_id)
    FROM events GROUP BY 1, 2
"""


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)
    monkeypatch.setattr(rescore, "LINGER_SECONDS", 0.001)


def stored(process: Process, *events: dict[str, Any]) -> None:
    push_events(process.redis, *events, lane=HISTORY)
    drain(process, HISTORY)


def rows(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return sorted(connection.execute(query, parameters or None).fetchall(), key=repr)


def customers_between(connection: Connection, since: date, until: date) -> list[Any]:
    """Those who sent each event from one day to another, counted one by one."""
    query = "SELECT event, count(DISTINCT customer_id) FROM customer_days WHERE day BETWEEN %s AND %s GROUP BY event"
    return rows(connection, query, since, until)


def tallied_between(connection: Connection, since: date, until: date) -> list[Any]:
    query = """SELECT event, sum(customers) FROM event_returns WHERE day BETWEEN %s AND %s AND previous < %s
               GROUP BY event HAVING sum(customers) <> 0"""
    return rows(connection, query, since, until, since)


def right(connection: Connection) -> bool:
    """Whether the totals are what counting gives, for every range of days."""
    assert rows(connection, "SELECT event, day, n FROM event_days") == rows(connection, DAYS)
    assert rows(connection, "SELECT event, hour, n, customers FROM event_hours") == rows(connection, HOURS)
    days = [day for (day,) in rows(connection, "SELECT DISTINCT day FROM customer_days")]
    for number, since in enumerate(days):
        for until in days[number:]:
            assert tallied_between(connection, since, until) == customers_between(connection, since, until)
    return True


def levels(connection: Connection) -> list[Any]:
    """The customers at each level at the end of each day, by the moves."""
    query = """SELECT days.day, moves.level, sum(customers) FROM (SELECT DISTINCT day FROM risk_moves) AS days
               JOIN risk_moves AS moves ON moves.day <= days.day GROUP BY 1, 2 HAVING sum(customers) <> 0"""
    return rows(connection, query)


def levels_said(connection: Connection) -> list[Any]:
    """The same, by the last risk of each customer up to then."""
    query = """
        SELECT day, CASE WHEN said.state = 'lapsed' THEN said.state ELSE said.level END, count(*)
        FROM (SELECT DISTINCT day FROM risk_moves) AS days, customers, LATERAL (
            SELECT level, state FROM (
                SELECT customer_id, at, level, state FROM risk_history
                UNION ALL SELECT customer_id, at, level, state FROM risk_rebuilt
            ) AS risks
            WHERE risks.customer_id = customers.customer_id AND at < day + 1 ORDER BY at DESC LIMIT 1
        ) AS said GROUP BY 1, 2
    """
    return rows(connection, query)


def some_events(chance: random.Random, count: int) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [
        event(
            event=chance.choice(["login", "feature_used", "shared"]),
            customer_email=f"c{chance.randrange(6)}@example.com",
            timestamp=(now - timedelta(hours=chance.randrange(24 * 12), minutes=chance.randrange(60))).isoformat(),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_totals_are_exact_whatever_happens_in_which_order(process: Process, connection: Connection, seed: int) -> None:
    """Late events, events of the past, tallies at any time, erasures, newcomers, rebuilt pasts."""
    chance = random.Random(seed)
    for _ in range(12):
        stored(process, *some_events(chance, chance.choice([1, 3, 20])))
        if chance.random() < 0.5:
            totals.tally(connection)
        if chance.random() < 0.5:
            rescore.drain(process)
        if chance.random() < 0.3:
            rebuild_some(process)
        if chance.random() < 0.25:
            with (
                connect(process.settings.database_url or "") as other,
                totals.alone(other) if seed % 2 else nullcontext(),
            ):
                erasure.erase(connection, 1, f"c{chance.randrange(6)}@example.com")
    totals.tally(connection)
    assert right(connection)
    assert levels(connection) == levels_said(connection)


@pytest.mark.parametrize("chunk", [1, 10_000])
def test_nobody_who_erases_waits_for_a_tally(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """However long it takes; the totals follow, whatever the tally under way has seen of the customer."""
    monkeypatch.setattr(erasure, "CHUNK", chunk)
    days = [event(timestamp=f"2025-12-0{day}T10:00:00Z") for day in range(1, 8)]
    stored(process, *days[:3], event(customer_email="joe@example.com", timestamp="2025-12-02"))
    totals.tally(connection)
    stored(process, *days[3:5])
    with connect(database_url) as other, totals.alone(other):
        with totals.one_moment(other):
            totals.last_of(other)  # what it sees is settled
            stored(process, *days[5:])
            assert erasure.erase(connection, 1, "jane@example.com").events == 7
            totals.catch_up(other)
        stored(process, *days[:2])  # a new history
        assert erasure.erase(connection, 1, "jane@example.com").events == 2
        stored(process, days[0])
        assert totals.leaving(connection)
        assert totals.due(process)
    totals.tally(connection)
    assert right(connection)
    assert not totals.leaving(connection)


def test_who_is_erased_is_left_out_at_once_even_if_it_is_time_to_rest(process: Process, connection: Connection) -> None:
    stored(process, event(timestamp="2025-12-01"), event(customer_email="joe@example.com"))
    totals.tally(connection)
    connection.execute("UPDATE tallied SET worked_seconds = 100")
    erasure.erase(connection, 1, "jane@example.com")
    assert right(connection)
    with connect(process.settings.database_url or "") as other, totals.alone(other):
        erasure.erase(connection, 1, "joe@example.com")
    assert totals.due(process)
    totals.drain(process)
    assert right(connection)
    assert rows(connection, "SELECT * FROM event_days") == rows(connection, "SELECT * FROM recent_events") == []


def test_a_recount_gives_the_same(process: Process, connection: Connection) -> None:
    stored(process, *some_events(random.Random(1), 60))
    rescore.drain(process)
    rebuild_some(process)
    assert levels(connection) == levels_said(connection)
    totals.recount(connection)
    assert right(connection)
    assert levels(connection) == levels_said(connection) != []


def test_what_a_transaction_under_way_stores_is_tallied_when_it_has_ended(
    process: Process, connection: Connection, database_url: str
) -> None:
    """It began before a tally, and was committed after: in the order of their numbers it is an old one."""
    stored(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    insert = """
        INSERT INTO events (customer_id, occurred_at, event_key, event, received_at)
        SELECT customer_id, %(at)s, 7, 'login', %(at)s FROM customers
    """
    count = """
        INSERT INTO customer_days SELECT customer_id, %(at)s::date, 'login', '', 1, 0, %(at)s FROM customers
    """
    with connect(database_url) as slow, slow.transaction():
        for statement in (insert, count):
            slow.execute(statement, {"at": datetime(2025, 12, 3, 10, tzinfo=UTC)})
        stored(process, event(timestamp="2025-12-02"))
        totals.tally(connection)
        assert right(connection)
    totals.tally(connection)
    assert right(connection)
    assert rows(connection, "SELECT day FROM event_days")[-1] == (date(2025, 12, 3),)


def test_a_tally_that_fails_half_way_has_not_happened(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    stored(process, event(timestamp="2025-12-02"))
    connection.execute("UPDATE tallied SET worked_seconds = 0")

    def fail(name: str) -> Any:
        return "SELECT 1 / 0" if name == "note_tally" else sql(name)

    monkeypatch.setattr(totals, "sql", fail)
    totals.drain(process)
    monkeypatch.setattr(totals, "sql", sql)
    assert rows(connection, "SELECT day FROM event_days") == [(date(2025, 12, 1),)]
    totals.tally(connection)
    assert right(connection)


def test_one_tallies_at_a_time(process: Process, connection: Connection, database_url: str) -> None:
    stored(process, event())
    with connect(database_url) as other, totals.alone(other) as mine:
        assert mine
        assert not totals.tally(connection)
        thread = threading.Thread(target=totals.recount, args=(connection,))
        thread.start()
    thread.join()
    assert right(connection)


def test_a_restored_database_is_counted_anew(process: Process, connection: Connection) -> None:
    """Its transactions may have lower numbers than those that stored its events."""
    stored(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    connection.execute("UPDATE events SET stored_by = 1000000000")
    connection.execute("UPDATE tallied SET snapshot = '1000000001:1000000001:'")
    connection.execute("UPDATE event_days SET n = 100")
    stored(process, event(timestamp="2025-12-02"))
    totals.tally(connection)
    assert right(connection)
    stored(process, event(timestamp="2025-12-03"))
    totals.tally(connection)
    assert right(connection)


def test_a_flood_of_events_is_tallied_beside_the_job(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "MOST_EVENTS", 3)
    stored(process, *[event(timestamp=f"2025-12-0{day}") for day in range(1, 8)])
    totals.drain(process)
    wait_until(lambda: rows(connection, "SELECT day FROM event_days"), 60)
    assert right(connection)


def test_who_worked_rests(process: Process, connection: Connection) -> None:
    """In proportion: a tally that took a second is not followed by another for a while."""
    stored(process, event(timestamp="2025-12-01"))
    totals.drain(process)
    connection.execute("UPDATE tallied SET worked_seconds = 1, at = now()")
    stored(process, event(timestamp="2025-12-02"))
    totals.drain(process)
    assert not totals.due(process)
    assert rows(connection, "SELECT day FROM event_days") == [(date(2025, 12, 1),)]
    connection.execute("UPDATE tallied SET at = now() - interval '1 hour'")
    assert totals.due(process)
    totals.drain(process)
    assert right(connection)


def test_it_rests_longer_while_events_wait_to_be_stored(process: Process, connection: Connection) -> None:
    """What an import costs is bounded, and so is how long its counts are missing once it is through."""
    stored(process, event(timestamp="2025-12-01"))
    totals.drain(process)
    connection.execute("UPDATE tallied SET worked_seconds = 10, at = now() - interval '6 seconds'")
    stored(process, event(timestamp="2025-12-02"))
    push_events(process.redis, event(), lane=HISTORY)
    assert not totals.due(process)
    connection.execute("UPDATE tallied SET at = now() - interval '61 seconds'")
    assert totals.due(process)
    connection.execute("UPDATE tallied SET at = now() - interval '6 seconds'")
    drain(process, HISTORY)
    assert totals.due(process)


def test_days_that_are_pruned_leave_the_rest_right(process: Process, connection: Connection) -> None:
    now = datetime.now(UTC).replace(hour=12)
    stored(process, *[event(timestamp=(now - timedelta(days=day)).isoformat()) for day in (9, 6, 3, 1)])
    totals.tally(connection)
    cut = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
    totals.prune(connection, cut, cut)
    connection.execute("DELETE FROM customer_days WHERE day < %s", [cut])
    connection.execute("DELETE FROM events WHERE occurred_at < %s", [cut])
    assert right(connection)
    erasure.erase(connection, 1, "jane@example.com")
    assert right(connection)
    assert rows(connection, "SELECT * FROM event_returns") == []


def test_moves_are_merged(process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MANY_MOVES", 2)
    for number in range(5):
        stored(process, event(customer_email=f"c{number}@example.com"))
        rescore.rescore_due(process)
    before = levels(connection)
    totals.tally(connection)
    assert levels(connection) == before
    assert len(rows(connection, "SELECT * FROM risk_moves")) <= 2


def test_levels_that_were_counted_wrong_are_settled(process: Process, connection: Connection) -> None:
    stored(process, event(), event(customer_email="joe@example.com"))
    rescore.rescore_due(process)
    totals.settle(process)
    assert levels(connection) == levels_said(connection)
    connection.execute("INSERT INTO risk_moves VALUES (1, current_date, 'high', 3), (1, current_date, 'lapsed', -1)")
    assert levels(connection) != levels_said(connection)
    totals.settle(process)
    assert levels(connection) == levels_said(connection)


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
    stored(process, *(event(timestamp=moment.isoformat()) for moment in moments))
    totals.tally(connection)
    assert any("new_days" in line for line in plan)
    assert not any("Join Filter" in line for line in plan)
    assert right(connection)
