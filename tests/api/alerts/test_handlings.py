from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from workers.store import Connection

PATH = "/api/v1/customers/jane@example.com/handlings"


def off_until(connection: Connection) -> timedelta | None:
    ((left,),) = connection.execute("SELECT snoozed_until - now() FROM customers").fetchall()
    return left  # type: ignore[no-any-return]


def test_what_was_done_is_kept(jane: TestClient) -> None:
    assert jane.post(PATH, json={"what": "noted", "text": "On holiday", "who": "Ann"}).status_code == 201
    body = jane.post(PATH, json={"what": "contacted"}).json()
    listed = jane.get(PATH).json()["handlings"]
    assert [each["what"] for each in listed] == ["contacted", "noted"]
    assert listed[0] == body
    assert (listed[1]["text"], listed[1]["who"], listed[1]["until"]) == ("On holiday", "Ann", None)


def test_a_snooze_lasts_two_weeks_unless_it_says_otherwise(jane: TestClient, connection: Connection) -> None:
    jane.post(PATH, json={"what": "snoozed"})
    left = off_until(connection)
    assert left
    assert timedelta(days=13) < left <= timedelta(days=14)
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    assert jane.post(PATH, json={"what": "snoozed", "until": until}).status_code == 201
    assert off_until(connection) < left  # type: ignore[operator]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"what": "forgotten"},
        {"what": "noted"},
        {"what": "noted", "text": "  "},
        {"what": "contacted", "until": "2099-01-01"},
        {"what": "snoozed", "until": "2020-01-01"},
        {"what": "snoozed", "until": "2199-01-01"},
        {"what": "snoozed", "until": "soon"},
        {"what": "contacted", "whom": "x"},
        {"what": "noted", "text": "x" * 2001},
        {"what": "noted", "text": "\0"},
    ],
)
def test_what_no_handling_can_be_is_refused(jane: TestClient, body: Any) -> None:
    response = jane.post(PATH, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_handling")


def test_an_unknown_customer_has_none(acme: TestClient) -> None:
    assert acme.get(PATH).json()["code"] == "customer_not_found"
    assert acme.post(PATH, json={"what": "contacted"}).json()["code"] == "customer_not_found"


def test_a_rise_of_the_level_ends_a_snooze(jane: TestClient, connection: Connection, work: Callable[[], None]) -> None:
    jane.post(PATH, json={"what": "snoozed"})
    connection.execute("UPDATE customers SET rescore_at = now()")
    work()
    assert off_until(connection) is not None
    connection.execute("UPDATE customers SET rescore_at = now(), level = 'low', probability = 0.01")
    work()
    assert off_until(connection) is None
