"""Counts of everything, to compare the totals with."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.workers.events import event, push_events
from workers.buffer.lanes import HISTORY
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection, sql
from workers.upkeep import totals

DAYS = "SELECT event, day, sum(n) FROM customer_days GROUP BY 1, 2"
CUSTOMERS = "SELECT event, day, count(DISTINCT customer_id), sum(n) FROM customer_days GROUP BY 1, 2"
NAMES = """
    SELECT event, sum(n)::bigint, count(DISTINCT customer_id), count(DISTINCT (customer_id, day))
    FROM customer_days GROUP BY event
"""
HOURS = """
    SELECT event, date_trunc('hour', least(occurred_at, received_at)), count(*), count(DISTINCT customer_id)
    FROM events GROUP BY 1, 2
"""


def store(process: Process, *events: dict[str, Any]) -> None:
    push_events(process.redis, *events, lane=HISTORY)
    drain(process, HISTORY)


def rows(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return sorted(connection.execute(query, parameters or None).fetchall(), key=repr)


def customers_between(connection: Connection, since: date, until: date) -> list[Any]:
    """The customers who sent each event from one day to another, counted singly."""
    query = "SELECT event, count(DISTINCT customer_id) FROM customer_days WHERE day BETWEEN %s AND %s GROUP BY event"
    return rows(connection, query, since, until)


def tallied_between(connection: Connection, since: date, until: date) -> list[Any]:
    query = """SELECT event, sum(customers) FROM event_returns WHERE day BETWEEN %s AND %s AND previous < %s
               GROUP BY event HAVING sum(customers) <> 0"""
    return rows(connection, query, since, until, since)


def names_sent(connection: Connection) -> list[Any]:
    """The names that an account sends, as they are listed: events, customers, days of customers."""
    listed = connection.execute(sql("list_sent_names"), {"account_id": 1, "limit": 1000}).fetchall()
    return sorted(listed, key=repr)


def series_by_day(connection: Connection, event: str) -> list[Any]:
    """An event's days: when, how often, from how many customers."""
    span = {"since": datetime(2000, 1, 1, tzinfo=UTC), "until": datetime(2100, 1, 1, tzinfo=UTC)}
    days = connection.execute(sql("event_series_by_day"), {"account_id": 1, "event": event, **span}).fetchall()
    return sorted(days, key=repr)


def customers_by_day(connection: Connection, event: str) -> list[Any]:
    """The same, counted singly."""
    query = """SELECT day::timestamptz, sum(n)::bigint, count(DISTINCT customer_id) FROM customer_days WHERE event = %s
               GROUP BY day"""
    return rows(connection, query, event)


def assert_right(connection: Connection) -> None:
    """The totals are what counting gives, for every range of days."""
    assert rows(connection, "SELECT event, day, n FROM event_days") == rows(connection, DAYS)
    assert rows(connection, "SELECT event, day, customers, counted FROM event_days") == rows(connection, CUSTOMERS)
    assert rows(connection, "SELECT event, hour, n, customers FROM event_hours") == rows(connection, HOURS)
    assert names_sent(connection) == rows(connection, NAMES)
    assert series_by_day(connection, "login") == customers_by_day(connection, "login")
    days = [day for (day,) in rows(connection, "SELECT DISTINCT day FROM customer_days")]
    for number, since in enumerate(days):
        for until in days[number:]:
            assert tallied_between(connection, since, until) == customers_between(connection, since, until)


def levels(connection: Connection) -> list[Any]:
    """The customers at each level at the end of each day, by the moves."""
    query = """SELECT days.day, moves.level, sum(customers) FROM (SELECT DISTINCT day FROM risk_moves) AS days
               JOIN risk_moves AS moves ON moves.day <= days.day GROUP BY 1, 2 HAVING sum(customers) <> 0"""
    return rows(connection, query)


def levels_by_risks(connection: Connection) -> list[Any]:
    """The same, by the last risk of each customer up to then."""
    query = """
        SELECT day, standing(said.state, said.level), count(*)
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


def count_anew(connection: Connection) -> None:
    """Forget what was tallied, and count everything."""
    connection.execute("DELETE FROM tallied")
    totals.tally(connection)
