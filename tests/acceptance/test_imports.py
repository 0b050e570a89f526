"""An import into the running service leaves no false alarm behind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from redis import Redis

from tests.acceptance.line import Line
from tests.waiting import wait_until
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

CUSTOMERS, DAYS = 40, 100


def list_history() -> list[dict[str, Any]]:
    """A login a day of each customer up to now, oldest first: the last day takes the live lane."""
    now = datetime.now(UTC)
    return [
        event(
            customer_email=f"c{customer}@example.com",
            timestamp=(now - timedelta(days=day, minutes=customer)).isoformat(),
        )
        for day in reversed(range(DAYS))
        for customer in range(CUSTOMERS)
    ]


def test_the_first_risk_of_an_import_is_the_one_with_all_of_its_history(
    running: Line, connection: Connection, redis: Redis
) -> None:
    """The days arrive in pieces, the latest ones first, by the other lane: what is computed of them is shown alone."""
    key = keys.create(connection, redis, "acme")
    running.start()
    events = list_history()
    with httpx2.Client(base_url=running.url, headers={"X-API-Key": key.secret}, timeout=30) as client:
        for start in reversed(range(0, len(events), 100)):
            assert client.post("/api/v1/track", json={"events": events[start : start + 100]}).status_code == 200
        wait_until(lambda: count_recorded(connection) == CUSTOMERS, timeout=90)
        shown = client.get("/api/v1/customers", params={"limit": 1000}).json()["customers"]
    points = "SELECT customer_id, count(*), max(risk_history.level), max(because) FROM risk_history GROUP BY 1"
    recorded = connection.execute(points).fetchall()
    assert {(number, because) for _, number, _, because in recorded} <= {(1, "import"), (1, "first")}
    assert {level for _, _, level, _ in recorded} == {customer["risk"]["level"] for customer in shown} == {"low"}
    days = connection.execute("SELECT DISTINCT n FROM customer_days WHERE event = 'login'").fetchall()
    assert days == [(1,)]


def count_recorded(connection: Connection) -> int:
    row = connection.execute("SELECT count(recorded_at) FROM customers WHERE NOT provisional").fetchone()
    assert row
    return int(row[0])
