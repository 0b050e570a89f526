"""`GET /api/v1/analytics/events/{name}`."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.sending import ago, track
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

EVENTS = "/api/v1/analytics/events"


def series(client: TestClient, name: str, **parameters: str) -> list[tuple[str, int, int]]:
    response = client.get(f"{EVENTS}/{quote(name, safe='')}", params=parameters)
    assert response.status_code == 200, response.text
    return [(point["at"], point["count"], point["customers"]) for point in response.json()["series"]]


@pytest.fixture
def sent(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """Jane's and Joe's logins around a week's and a month's end."""
    track(
        acme,
        event(timestamp="2025-11-28T10:00:00Z"),
        event(timestamp="2025-11-30T23:59:59.999Z"),
        event(timestamp="2025-12-01T00:00:00Z"),
        event(timestamp="2025-12-01T00:30:00Z"),
        event(timestamp="2025-12-01T09:00:00Z", customer_email="joe@example.com"),
        event(event="report_shared", timestamp="2025-12-01T10:00:00Z"),
    )
    work()
    return acme


def test_a_series_has_every_interval(sent: TestClient) -> None:
    assert series(sent, "login", **{"from": "2025-11-28", "to": "2025-12-02"}) == [
        ("2025-11-28T00:00:00Z", 1, 1),
        ("2025-11-29T00:00:00Z", 0, 0),
        ("2025-11-30T00:00:00Z", 1, 1),
        ("2025-12-01T00:00:00Z", 3, 2),
        ("2025-12-02T00:00:00Z", 0, 0),
    ]


@pytest.mark.parametrize(
    ("interval", "points"),
    [
        ("hour", [("2025-11-30T23:00:00Z", 1, 1), ("2025-12-01T00:00:00Z", 2, 1), ("2025-12-01T01:00:00Z", 0, 0)]),
        ("day", [("2025-11-30T00:00:00Z", 1, 1), ("2025-12-01T00:00:00Z", 3, 2)]),
        ("week", [("2025-11-24T00:00:00Z", 2, 1), ("2025-12-01T00:00:00Z", 3, 2)]),
        ("month", [("2025-11-01T00:00:00Z", 2, 1), ("2025-12-01T00:00:00Z", 3, 2)]),
    ],
)
def test_intervals_are_whole_and_hold_both_ends(
    sent: TestClient, interval: str, points: list[tuple[str, int, int]]
) -> None:
    """In UTC: weeks from Monday, and a customer counts once an interval."""
    asked = {"from": "2025-11-30T23:10:00Z", "to": "2025-12-01T01:00:00Z", "interval": interval}
    assert series(sent, "login", **asked) == points


@pytest.mark.parametrize("since", ["2025-12-01T01:59:00+02:00", "2025-12-01 05:20+05:30", "20251130T235959Z"])
def test_times_may_have_an_offset(sent: TestClient, since: str) -> None:
    points = series(sent, "login", **{"from": since, "to": "2025-12-01T03:00:00+03:00", "interval": "hour"})
    assert [point[0] for point in points] == ["2025-11-30T23:00:00Z", "2025-12-01T00:00:00Z"]


def test_the_hour_that_comes_twice_in_autumn_is_two(sent: TestClient) -> None:
    """A clock is put back: the same time of day with another offset is an hour later."""
    track(sent, event(timestamp="2025-10-26T02:30:00+02:00"), event(timestamp="2025-10-26T02:30:00+01:00"))
    series_of = {"from": "2025-10-26T02:00:00+02:00", "to": "2025-10-26T02:59:59+01:00", "interval": "hour"}
    assert [point[0] for point in series(sent, "login", **series_of)] == [
        "2025-10-26T00:00:00Z",
        "2025-10-26T01:00:00Z",
    ]


@pytest.mark.parametrize(("interval", "count"), [("hour", 48), ("day", 30), ("week", 13), ("month", 12)])
def test_the_usual_range_ends_now(acme: TestClient, work: Callable[[], None], interval: str, count: int) -> None:
    track(acme, event())
    work()
    points = series(acme, "login", interval=interval)
    assert (len(points), points[-1][1:]) == (count, (1, 1))
    assert len(series(acme, "login", interval=interval, to="2025-12-01")) == count


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"from": "2025-12-02", "to": "2025-12-01"}, "from"),
        ({"from": "2005-01-01", "interval": "hour"}, "2000 hours"),
        ({"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00", "interval": "day"}, "2000 days"),
        ({"interval": "year"}, "interval"),
        ({"from": "1764547200"}, "from"),
        ({"to": ""}, "to"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(sent: TestClient, parameters: dict[str, str], word: str) -> None:
    response = sent.get(f"{EVENTS}/login", params=parameters)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert word in response.json()["message"]


def test_the_longest_range_is_taken(sent: TestClient) -> None:
    points = series(sent, "login", **{"from": "0001-01-01", "to": "9999-12-31", "interval": "month"})
    assert points[0][0] == "2000-01-01T00:00:00Z"
    assert sum(point[1] for point in points) == 5


NAMES = ["a/b", "/", "a b ", "é✓", "100 %", "a?b#c&d=e", "'; DROP TABLE events; --", "<script>", "events"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_has_its_series(acme: TestClient, work: Callable[[], None], name: str) -> None:
    track(acme, event(event=name), event(event="other"))
    work()
    assert series(acme, name)[-1][1:] == (1, 1)


@pytest.mark.parametrize("name", ["Login", "logi", "login/", " login", "a\0b", "\N{RIGHT-TO-LEFT OVERRIDE}"])
def test_a_name_that_was_never_sent_is_not_found(sent: TestClient, name: str) -> None:
    response = sent.get(f"{EVENTS}/{quote(name, safe='')}")
    assert (response.status_code, response.json()["code"]) == (404, "event_not_found")


def test_another_accounts_events_are_not_found(sent: TestClient, connection: Connection, redis: Redis) -> None:
    sent.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert sent.get(f"{EVENTS}/login").json()["code"] == "event_not_found"


def test_the_commonest_values_of_properties_are_told(acme: TestClient, work: Callable[[], None]) -> None:
    """Of scalars alone, and of those that aren't texts of their own."""
    sent_properties: list[dict[str, Any]] = [
        {"plan": "pro", "seats": 3, "paid": True},
        {"plan": "pro", "seats": 3.5, "paid": None, "tags": ["a"], "nested": {"a": 1}},
        {"plan": "team", "note": "x" * 500},
    ]
    track(acme, *[event(properties=one, event_id=str(k)) for k, one in enumerate(sent_properties)])
    work()
    assert acme.get(f"{EVENTS}/login").json()["properties"] == [
        {"name": "plan", "values": [{"value": "pro", "count": 2}, {"value": "team", "count": 1}]},
        {"name": "seats", "values": [{"value": 3, "count": 1}, {"value": 3.5, "count": 1}]},
        {"name": "paid", "values": [{"value": True, "count": 1}]},
    ]


def test_values_are_those_of_the_latest_thousand_events(acme: TestClient, work: Callable[[], None]) -> None:
    """Whichever came first: the 300 oldest come last here, and one customer sends several an hour."""
    minutes = [*range(0, 1300), *range(1300, 1600)]
    sent = [
        event(
            timestamp=ago(minutes=minute),
            properties={"age": "new" if minute < 900 else "old" if minute > 1100 else "-"},
        )
        for minute in minutes
    ]
    for part in (sent[:1300], sent[1300:]):
        for start in range(0, len(part), 100):
            track(acme, *part[start : start + 100])
        work()
    (age,) = acme.get(f"{EVENTS}/login").json()["properties"]
    counts = {value["value"]: value["count"] for value in age["values"]}
    assert counts == {"new": 900, "-": 100}


def test_an_event_counts_once_among_the_latest(acme: TestClient, work: Callable[[], None]) -> None:
    """Also where the hours of a customer's events follow each other."""
    track(acme, *[event(timestamp=ago(hours=hour), properties={"plan": "pro"}) for hour in range(1, 9)])
    work()
    (plan,) = acme.get(f"{EVENTS}/login").json()["properties"]
    assert plan["values"] == [{"value": "pro", "count": 8}]


def test_reading_a_series_needs_a_secret_key(client: TestClient) -> None:
    assert client.get(f"{EVENTS}/login").json()["code"] == "missing_api_key"
