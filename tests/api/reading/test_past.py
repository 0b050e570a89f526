"""Lists by the risks of past moments: a pass over everybody's risks says what looking up each customer's does."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import pytest
from starlette.testclient import TestClient

from api.reading import past
from scoring.levels import NAMES
from tests.sending import ago, track
from tests.workers.events import event
from workers.store import Connection, sql

CUSTOMERS = 40
MOMENTS = (0.5, 2, 5, 7, 9.3, 16, 30)  # days ago
POINT = """
INSERT INTO risk_history (customer_id, at, probability, level, state, model)
SELECT customer_id, now() - %s * interval '1 day', %s, %s, %s, 'prior-1' FROM customers WHERE email = %s
ON CONFLICT DO NOTHING
"""
MONDAYS = """
INSERT INTO risk_rebuilt (customer_id, at, probability, level, state, model)
SELECT customer_id, week, random(), 'medium', 'active', 'prior-1'
FROM customers, generate_series(date_trunc('week', now()) - interval '6 weeks', now(), interval '1 week') AS week
WHERE week < (SELECT min(at) FROM risk_history WHERE risk_history.customer_id = customers.customer_id)
"""
# To another model, so many days ago; some past moments were computed with it.
CHANGE: tuple[LiteralString, ...] = (
    "DELETE FROM risk_rebuilt",
    "UPDATE customers SET comparable_since = now() - %(days)s * interval '1 day', generation = 1",
    "UPDATE risk_history SET model = 'map-9' WHERE at < now() - %(days)s * interval '1 day'",
    """
    INSERT INTO risk_restated (customer_id, generation, at, probability, level, state)
    SELECT customer_id, 1, now() - ago * interval '1 day', random(), 'high', 'active'
    FROM customers CROSS JOIN (VALUES (7), (10), (17)) AS moments (ago)
    """,
    """
    INSERT INTO levels_restated (account_id, at, level, customers)
    SELECT account_id, at, 'high', count(*) FROM risk_restated JOIN customers USING (customer_id) GROUP BY 1, 2
    """,
    """
    INSERT INTO model_changes (account_id, at, because, model, model_before, horizon_days, horizon_before)
    SELECT account_id, now() - %(days)s * interval '1 day', 'model', 'prior-1', 'map-9', 30, 30 FROM accounts
    """,
)


@pytest.fixture
def history(acme: TestClient, work: Callable[[], None], connection: Connection) -> TestClient:
    """Customers with risks of all days, gaps, several a day, other models, and rebuilt ones before."""
    track(acme, *(event(customer_email=f"c{n}@example.com", timestamp=ago(days=40)) for n in range(CUSTOMERS)))
    work()
    chance = random.Random(5)
    for number in range(CUSTOMERS):
        days = chance.choice((0.0, 3.0, 12.0, 20.0))
        while days < chance.choice((10, 25)):
            days += chance.choice((0.1, 1.0, 1.1, 1.7, 5.0))
            risk, level = chance.random(), chance.choice(NAMES)
            state = chance.choice(("active", "lapsed", "new"))
            connection.execute(POINT, (days, risk, level, state, f"c{number}@example.com"))
    connection.execute(MONDAYS)
    connection.execute("UPDATE customers SET risk_before = NULL, state = 'active', lapsed_at = NULL")
    return acme


def read_lists(client: TestClient) -> list[Any]:
    """The lists by past moments, at every moment."""
    assert client.post("/sign-in", data={"key": client.headers["X-API-Key"]}, follow_redirects=False).is_redirect
    lists: list[Any] = []
    now = datetime.now(UTC)
    for days in MOMENTS:
        moment = (now - timedelta(days=days)).replace(hour=23, minute=59, second=59, microsecond=0)
        queries: tuple[dict[str, Any], ...] = (
            {},
            {"risen": 5},
            {"sort": "-risen"},
            {"sort": "risen", "level": "low,medium,high"},
        )
        for query in queries:
            parameters = {"since": moment.isoformat(), "limit": 1000, **query} if moment < now else {}
            customers = client.get("/api/v1/customers", params=parameters).json()["customers"]
            lists.append({customer["email"]: customer["risen"] for customer in customers})
        for level in (*NAMES, "lapsed"):
            file = client.get("/customers.csv", params={"then": level, "on": f"{moment:%Y-%m-%d}", "sort": "email"})
            lists.append({line.split(",")[0]: 0.0 for line in file.text.splitlines()})
    return lists


def assert_equal(one: list[Any], other: list[Any]) -> None:
    assert [sorted(each) for each in one] == [sorted(each) for each in other]
    for first, second in zip(one, other, strict=True):
        assert first == pytest.approx(second, abs=0.11, nan_ok=True) if None not in first.values() else True
        assert [name for name in first if first[name] is None] == [name for name in first if second[name] is None]


@pytest.mark.parametrize("change", [None, 1.0, 6.0])
def test_a_pass_says_what_look_ups_say(
    history: TestClient, connection: Connection, monkeypatch: pytest.MonkeyPatch, change: float | None
) -> None:
    """Also where the account changed its model so many days ago."""
    if change is not None:
        for statement in CHANGE:
            connection.execute(statement, {"days": change})
    looked_up = read_lists(history)
    assert sum(map(len, looked_up)) > 500
    monkeypatch.setattr(past, "MANY", 1)
    assert_equal(looked_up, read_lists(history))


def read_all(client: TestClient, query: dict[str, Any]) -> list[Any]:
    """All pages of a list, of 5 each."""
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    while not rows or cursor:
        answer = client.get("/api/v1/customers", params={"limit": 5, **query, **cursor}).json()
        rows += [(customer["email"], customer["risen"]) for customer in answer["customers"]]
        cursor = {"cursor": answer["next_cursor"]} if answer["next_cursor"] else {}
    return rows


@pytest.mark.parametrize("first", [1, 6, 20, 1000])
@pytest.mark.parametrize("change", [None, 6.0])
def test_a_list_is_the_same_however_many_are_looked_up_first(
    history: TestClient, connection: Connection, monkeypatch: pytest.MonkeyPatch, first: int, change: float | None
) -> None:
    """Some of its pages are full of the first customers, and a pass is made for others."""
    for statement in CHANGE if change is not None else ():
        connection.execute(statement, {"days": change})
    since = (datetime.now(UTC) - timedelta(days=7)).isoformat()
    queries = [
        {"since": since, "sort": sort, **risen}
        for sort in ("-risk", "risk", "email", "-last_seen", "-risen", "-mrr")
        for risen in ({}, {"risen": "1"}, {"risen": "30"})
    ]
    looked_up = [read_all(history, query) for query in queries]
    assert sum(map(len, looked_up)) > 200
    monkeypatch.setattr(past, "MANY", 1)
    monkeypatch.setattr(past, "LOOKED_UP", first)
    for query, rows in zip(queries, looked_up, strict=True):
        again = read_all(history, query)
        assert [row[0] for row in again] == [row[0] for row in rows], query
        assert [row[1] for row in again] == pytest.approx([row[1] for row in rows], abs=0.11), query


def test_a_large_account_is_one_that_is_a_part_of_all(history: TestClient, connection: Connection) -> None:
    """In tables with many others, its customers are looked up."""
    query = sql("describe_past")
    ((account_id,),) = connection.execute("SELECT account_id FROM accounts").fetchall()
    asked = {"account_id": account_id, "moment": datetime.now(UTC), "many": CUSTOMERS}
    assert connection.execute(query, asked).fetchall() == [(False, True)]
    assert connection.execute(query, {**asked, "many": CUSTOMERS + 1}).fetchall() == [(False, False)]
    connection.execute("UPDATE pg_class SET reltuples = %s WHERE oid = 'customers'::regclass", [CUSTOMERS * 40])
    assert connection.execute(query, {**asked, "many": 1}).fetchall() == [(False, False)]
