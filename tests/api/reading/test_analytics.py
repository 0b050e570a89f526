"""`GET /api/v1/analytics/events`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from scoring.learning.training import Candidate
from scoring.model import PRIOR, Term
from tests.sending import track
from tests.workers.events import event
from tests.workers.upkeep.counting import count_anew
from tests.workers.worlds import fill, world
from workers.accounts import keys, models
from workers.accounts.registry import choose_rules
from workers.learning.trainer import train
from workers.store import Connection

EVENTS = "/api/v1/analytics/events"


def found(client: TestClient, **parameters: str) -> dict[str, dict[str, Any]]:
    response = client.get(EVENTS, params=parameters)
    assert response.status_code == 200, response.text
    return {one["event"]: one for one in response.json()["events"]}


@pytest.fixture
def sent(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """Two customers, two names, three days."""
    track(
        acme,
        event(timestamp="2025-11-01T10:00:00Z"),
        event(timestamp="2025-11-02T10:00:00Z"),
        event(timestamp="2025-11-02T11:00:00Z", customer_email="joe@example.com"),
        event(event="report_shared", timestamp="2025-11-03T10:00:00Z", properties={"page": "/a"}),
        event(event="report_shared", timestamp="2025-11-03T12:00:00Z", properties={"page": "/b"}),
    )
    work()
    return acme


def test_events_are_counted_by_name(sent: TestClient) -> None:
    assert [one["event"] for one in sent.get(EVENTS).json()["events"]] == ["login", "report_shared"]
    assert found(sent)["login"] == {
        "event": "login",
        "count": 3,
        "customers": 2,
        "first_seen": "2025-11-01T10:00:00Z",
        "last_seen": "2025-11-02T11:00:00Z",
        "kind": "recognised",
        "signal": "positive",
        "stands_for": None,
        "model": None,
    }
    shared = found(sent)["report_shared"]
    assert (shared["count"], shared["customers"], shared["kind"], shared["signal"]) == (2, 1, "custom", None)
    assert shared["model"] == {"state": "stored", "customers": 1, "customers_needed": 50, "weight": None}


@pytest.mark.parametrize(
    ("parameters", "counts"),
    [
        ({"from": "2025-11-02"}, {"login": 2, "report_shared": 2}),
        ({"to": "2025-11-02T00:00:00Z"}, {"login": 3}),
        ({"from": "2025-11-03", "to": "2025-11-03", "interval": "day"}, {"report_shared": 2}),
        ({"from": "2025-11-02T23:30:00-02:00"}, {"report_shared": 2}),
        ({"from": "2025-11-03T01:00:00Z", "interval": "week"}, {"report_shared": 2}),
        ({"to": "2025-11-02", "interval": "hour"}, {"login": 3}),
        ({"from": "2025-11-30", "interval": "month"}, {"login": 3, "report_shared": 2}),
    ],
)
def test_a_range_is_of_whole_days_in_utc(sent: TestClient, parameters: dict[str, str], counts: dict[str, int]) -> None:
    assert {name: one["count"] for name, one in found(sent, **parameters).items()} == counts


@pytest.mark.parametrize(
    "parameters",
    [{"from": "yesterday"}, {"to": "x"}, {"interval": "century"}, {"from": "2025-11-03", "to": "2025-11-01"}],
)
def test_a_wrong_parameter_is_told(acme: TestClient, parameters: dict[str, str]) -> None:
    response = acme.get(EVENTS, params=parameters)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert next(iter(parameters)) in response.json()["message"]


def test_an_account_sees_its_own_events(sent: TestClient, connection: Connection, redis: Redis) -> None:
    sent.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert found(sent) == {}


def test_an_event_with_a_meaning_is_in_use_without_a_weight(acme: TestClient, connection: Connection) -> None:
    """An event that counts as use is a good sign, one that means churn a bad one; no training has to find that out."""
    fill(connection, world(20, 60))
    share(connection, 10)
    roles = (("churn", "negative"), ("engagement", "positive"), ("login", "positive"), ("trial_started", "neutral"))
    for role, signal in roles:
        choose_rules(connection, "acme", {"report_shared": role}, None)
        event = {one["event"]: one for one in acme.get("/api/v1/analytics/events").json()["events"]}["report_shared"]
        assert (event["kind"], event["signal"]) == ("custom", signal)
        assert (event["model"]["state"], event["model"]["weight"]) == ("in_use", None)


def share(connection: Connection, customers: int, days: int = 60) -> None:
    """Let so many customers of the world share a report a day."""
    connection.execute(
        """
        INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
        SELECT customer_id, day, 'report_shared', '', 1, 0, last_at FROM customer_days
        WHERE event = 'login' AND day >= current_date - %(days)s
          AND customer_id IN (SELECT customer_id FROM customers ORDER BY email LIMIT %(customers)s)
        """,
        {"customers": customers, "days": days},
    )
    count_anew(connection)


def test_a_custom_event_counts_until_enough_customers_have_sent_it(acme: TestClient, connection: Connection) -> None:
    account_id = fill(connection, world())
    share(connection, 40)
    train(connection, account_id, 30)
    model = found(acme)["report_shared"]["model"]
    assert (model["state"], model["customers_needed"], model["weight"]) == ("counting", 50, None)
    assert 0 < model["customers"] < 40


def test_a_custom_event_without_effect_is_tested(acme: TestClient, connection: Connection) -> None:
    """Everybody who comes shares a report: that says nothing that the visits don't."""
    account_id = fill(connection, world())
    share(connection, 600, 200)
    train(connection, account_id, 30)
    model = found(acme)["report_shared"]["model"]
    assert (model["state"], model["weight"]) == ("tested", None)
    assert model["customers"] >= 50


def test_a_custom_event_in_use_has_its_weight(acme: TestClient, connection: Connection) -> None:
    """A weight above 0 raises the risk."""
    account_id = fill(connection, world(20, 60))
    share(connection, 20)
    card = models.Card(
        "prior-1", "map-1", "", 30, None, None, 0, 0, 0, {}, [Candidate("report_shared", 60, 12, 0.001, True)]
    )
    model = msgspec.structs.replace(
        PRIOR, version="map-1", kind="map", terms=(*PRIOR.terms, Term("event:report_shared", (0.7,)))
    )
    models.save_models(connection, account_id, [model], card)
    models.use_model(connection, account_id, 1)
    shared = found(acme)["report_shared"]
    assert shared["signal"] == "negative"
    assert shared["model"] == {"state": "in_use", "customers": 20, "customers_needed": 50, "weight": 0.7}


def test_events_of_now_are_seen(acme: TestClient, work: Callable[[], None]) -> None:
    now = datetime.now(UTC)
    track(acme, event(timestamp=now.isoformat()))
    work()
    assert datetime.fromisoformat(found(acme)["login"]["last_seen"]) == now
