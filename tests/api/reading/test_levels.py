"""`GET /api/v1/analytics/risk`."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.sending import track
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

RISK = "/api/v1/analytics/risk"
LEVELS = ("low", "medium", "high", "critical", "lapsed")


def levels(client: TestClient, **parameters: str) -> dict[str, tuple[int, ...]]:
    response = client.get(RISK, params=parameters)
    assert response.status_code == 200, response.text
    return {day["at"]: tuple(day[level] for level in LEVELS) for day in response.json()["levels"]}


def test_customers_are_counted_as_they_are_now(acme: TestClient, work: Callable[[], None]) -> None:
    track(acme, event(), event(customer_email="joe@example.com"))
    work()
    today = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")
    ((at, counts),) = levels(acme).items()
    assert (at, sum(counts)) == (today, 2)


MOVES = """
INSERT INTO risk_moves (account_id, day, level, customers)
SELECT account_id, day, level, customers
FROM accounts, (VALUES (date '2025-01-01', 'low', 5), ('2025-01-03', 'low', -2), ('2025-01-03', 'lapsed', 2),
                       ('2025-01-03', 'low', 1), ('2025-01-06', 'high', 1)) AS moves (day, level, customers)
WHERE name = 'acme'
"""


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2024-12-30", "2025-01-02", {1: (5, 0, 0), 2: (5, 0, 0)}),
        ("2025-01-02", "2025-01-04", {2: (5, 0, 0), 3: (4, 0, 2), 4: (4, 0, 2)}),
        ("2025-01-05", "2025-01-06", {5: (4, 0, 2), 6: (4, 1, 2)}),
        ("2025-01-07", "2025-01-08", {7: (4, 1, 2), 8: (4, 1, 2)}),
        ("2024-12-30", "2024-12-31", {}),
    ],
)
def test_what_came_before_the_range_is_in_its_first_day(
    acme: TestClient, connection: Connection, first: str, last: str, expected: dict[int, tuple[int, int, int]]
) -> None:
    connection.execute(MOVES)
    counts = {f"2025-01-{day:02}T00:00:00Z": (low, 0, high, 0, lapsed) for day, (low, high, lapsed) in expected.items()}
    assert levels(acme, **{"from": first, "to": last}) == counts


@pytest.mark.parametrize("parameters", [{"from": "2025-12-02", "to": "2025-12-01"}, {"from": "x"}, {"to": "today"}])
def test_a_range_that_makes_no_sense_is_refused(acme: TestClient, parameters: dict[str, str]) -> None:
    response = acme.get(RISK, params=parameters)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")


def test_an_account_without_risks_has_no_days(acme: TestClient) -> None:
    assert acme.get(RISK).json() == {"levels": []}
    assert levels(acme, **{"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}) == {}


def test_another_accounts_customers_are_not_counted(
    acme: TestClient, work: Callable[[], None], connection: Connection, redis: Redis
) -> None:
    track(acme, event())
    work()
    acme.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert levels(acme) == {}


def test_counting_needs_a_secret_key(client: TestClient) -> None:
    assert client.get(RISK).json()["code"] == "missing_api_key"
