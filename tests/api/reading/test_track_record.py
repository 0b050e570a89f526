"""`GET /api/v1/model/track-record`."""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from scoring.levels import LevelBounds
from tests.workers.worlds import account, fill, world
from workers.buffer.entries import hash_customer
from workers.learning import track_records
from workers.store import Connection

ROUTE = "/api/v1/model/track-record"
COUNTS = ("left", "flagged_before", "flagged", "flagged_left")


@pytest.fixture
def tracked(connection: Connection) -> int:
    """An account with half a year of history and its track record."""
    account_id = fill(connection, world(120, 180))
    track_records.compute(connection, account_id, LevelBounds())
    return account_id


@pytest.mark.usefixtures("tracked")
def test_it_counts_who_left_and_who_was_flagged(acme: TestClient) -> None:
    record = acme.get(ROUTE, params={"limit": 1000}).json()
    assert (record["days"], record["before"], record["level"], record["why"]) == (90, 14, "high", None)
    left, flagged_before, flagged, flagged_left = (record[name] for name in COUNTS)
    assert 0 < flagged_before <= left == len(record["customers"])
    assert 0 < flagged_left <= flagged
    assert sum((customer["score_before"] or 0) >= 50 for customer in record["customers"]) == flagged_before
    times = [datetime.fromisoformat(customer["left_at"]) for customer in record["customers"]]
    assert times == sorted(times, reverse=True)
    assert datetime.now(UTC) - timedelta(days=90) <= times[-1] <= times[0] <= datetime.now(UTC)


def test_each_customer_counts_once(acme: TestClient, connection: Connection) -> None:
    """Anna was flagged twice, and came back after the first time. Ben was flagged, and left. Cleo was not flagged
    enough; Dora too long ago. Ben and Cleo left; Anna may still come back."""
    account_id = account(connection)
    ids = {name: hash_customer(account_id, f"{name}@example.com") for name in ("anna", "ben", "cleo", "dora")}
    for name, customer_id in ids.items():
        connection.execute(
            "INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)"
            " VALUES (%s, %s, %s, now(), now(), now())",
            [customer_id, account_id, f"{name}@example.com"],
        )
    flags = [("anna", 40, 0.6, False), ("anna", 33, 0.8, True), ("ben", 50, 0.5, True), ("cleo", 50, 0.4, True)]
    for name, days, risk, left in [*flags, ("dora", 130, 0.9, True)]:
        connection.execute(
            "INSERT INTO flags VALUES (%s, now() - %s * interval '1 day', %s, %s, %s)",
            [ids[name], days, account_id, risk, left],
        )
    for name, days, stayed, risk in (("ben", 20, True, 0.6), ("cleo", 30, True, 0.4), ("anna", 5, None, 0.9)):
        connection.execute(
            "INSERT INTO departures"
            " VALUES (%s, now() - %s * interval '1 day', %s, %s, array_fill(%s::real, ARRAY[60]))",
            [ids[name], days, account_id, stayed, risk],
        )
    connection.execute(
        "INSERT INTO track_records VALUES (%s, false, now(), now() - interval '300 days', 30)", [account_id]
    )
    record = acme.get(ROUTE).json()
    assert [record[name] for name in COUNTS] == [2, 1, 2, 1]
    assert [(gone["email"], gone["score_before"]) for gone in record["customers"]] == [
        ("ben@example.com", 60.0),
        ("cleo@example.com", 40.0),
    ]


@pytest.mark.usefixtures("tracked")
def test_a_shorter_time_ahead_and_a_lower_level_flag_more(acme: TestClient) -> None:
    ask: dict[str, dict[str, int | str]] = {
        "high": {},
        "late": {"before": 1},
        "medium": {"level": "medium"},
        "month": {"days": 30},
    }
    records = {name: acme.get(ROUTE, params=params).json() for name, params in ask.items()}
    assert records["late"]["flagged_before"] >= records["high"]["flagged_before"]
    assert records["medium"]["flagged_before"] >= records["high"]["flagged_before"]
    assert records["month"]["left"] < records["high"]["left"]
    assert records["month"]["days"] == 30


@pytest.mark.usefixtures("tracked")
def test_its_list_comes_in_pages(acme: TestClient) -> None:
    whole = acme.get(ROUTE, params={"limit": 1000}).json()["customers"]
    pages, cursor = [], None
    while True:
        page = acme.get(ROUTE, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        pages += page["customers"]
        if not (cursor := page["next_cursor"]):
            break
    assert pages == whole
    assert len(whole) > 3


def test_before_it_is_computed_counts_are_null_and_it_says_why(acme: TestClient) -> None:
    record = acme.get(ROUTE).json()
    assert [record[name] for name in COUNTS] == [None] * 4
    assert (record["customers"], record["next_cursor"]) == ([], None)
    assert "not computed yet" in record["why"]


def test_a_history_that_is_too_short_says_what_it_needs(acme: TestClient, connection: Connection) -> None:
    account_id = fill(connection, world(20, 20))
    track_records.compute(connection, account_id, LevelBounds())
    record = acme.get(ROUTE, params={"before": 7}).json()
    assert [record[name] for name in COUNTS] == [None] * 4
    assert "needs 37" in record["why"]


def test_an_account_without_events_has_a_reason_too(acme: TestClient, connection: Connection) -> None:
    track_records.compute(connection, account(connection), LevelBounds())
    assert "covers 0 days" in acme.get(ROUTE).json()["why"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("days", "0"), ("days", "366"), ("before", "61"), ("before", "x"), ("level", "low"), ("cursor", "x")],
)
def test_what_it_does_not_know_is_refused(acme: TestClient, name: str, value: str) -> None:
    response = acme.get(ROUTE, params={name: value})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert f"`{name}`" in response.json()["message"]
