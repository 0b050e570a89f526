"""`GET` and `PUT /api/v1/mappings`."""

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.sending import ago
from tests.workers.events import event
from workers.accounts import keys
from workers.process import Process
from workers.store import Connection

PATH = "/api/v1/mappings"


@pytest.fixture
def sent(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """The service, with a customer who signed in under another name, and closed the account."""
    events = [event(event="Signed In", timestamp=ago(days=day)) for day in range(5)]
    acme.post("/api/v1/track", json={"events": [*events, event(event="document.created")]})
    work()
    return acme


def test_what_is_put_is_shown_and_holds_for_scores(
    sent: TestClient, work: Callable[[], None], process: Process, connection: Connection
) -> None:
    assert sent.get("/api/v1/customers/jane@example.com").json()["risk"]["state"] == "new"
    answer = sent.put(PATH, json={"mappings": {"Signed In": "login"}})
    assert answer.status_code == 200
    assert answer.json()["mappings"] == {"Signed In": "login"} == sent.get(PATH).json()["mappings"]
    process.serving._cache.clear()
    connection.execute("UPDATE customers SET rescore_at = now()")
    work()
    assert sent.get("/api/v1/customers/jane@example.com").json()["risk"]["state"] == "active"
    (counted,) = [each for each in sent.get("/api/v1/analytics/events").json()["events"] if each["count"] == 5]
    assert (counted["kind"], counted["stands_for"], counted["signal"]) == ("custom", "login", "positive")


def test_a_list_of_pairs_is_taken_as_well_and_what_is_left_out_goes(sent: TestClient) -> None:
    pairs = [{"name": "Signed In", "event": "login"}, {"name": "document.created", "event": "engagement"}]
    assert sent.put(PATH, json={"mappings": pairs}).json()["mappings"] == {
        "Signed In": "login",
        "document.created": "engagement",
    }
    assert sent.put(PATH, json={"mappings": {}}).json()["mappings"] == {}


def test_names_are_proposed_until_they_are_mapped(sent: TestClient) -> None:
    proposals = {each["event"]: each["stands_for"] for each in sent.get(PATH).json()["proposals"]}
    assert proposals == {"Signed In": "login", "document.created": "engagement"}
    sent.put(PATH, json={"mappings": {"Signed In": "login"}})
    assert [each["event"] for each in sent.get(PATH).json()["proposals"]] == ["document.created"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"mappings": {"Sined In": "login"}}, "invalid_mapping"),
        ({"mappings": {"Signed In": "logon"}}, "invalid_mapping"),
        ({"mappings": {"login": "feature_used"}, "force": True}, "invalid_mapping"),
        ({"mappings": {"Signed In": 1}}, "invalid_mapping"),
        ({"mapping": {}}, "invalid_mapping"),
        ([], "invalid_mapping"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(sent: TestClient, body: Any, code: str) -> None:
    sent.put(PATH, json={"mappings": {"Signed In": "login"}})
    answer = sent.put(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert sent.get(PATH).json()["mappings"] == {"Signed In": "login"}


def test_force_maps_what_was_never_sent(sent: TestClient) -> None:
    assert sent.put(PATH, json={"mappings": {"Sined In": "login"}, "force": True}).status_code == 200


def test_a_body_that_is_no_json_is_said_to_be(sent: TestClient) -> None:
    assert sent.put(PATH, content=b"{").json()["code"] == "malformed_json"


def test_mappings_are_an_accounts_own_and_need_its_secret_key(
    sent: TestClient, connection: Connection, redis: Redis
) -> None:
    sent.put(PATH, json={"mappings": {"Signed In": "login"}})
    other = {"X-API-Key": keys.create(connection, redis, "other").secret}
    assert sent.get(PATH, headers=other).json() == {"mappings": {}, "proposals": []}
    publishable = {"X-API-Key": keys.create(connection, redis, "acme", publishable=True).secret}
    for answer in (sent.get(PATH, headers=publishable), sent.put(PATH, json={"mappings": {}}, headers=publishable)):
        assert (answer.status_code, answer.json()["code"]) == (403, "key_not_allowed")


def test_a_parameter_that_there_is_not_is_refused(sent: TestClient) -> None:
    assert sent.get(f"{PATH}?name=x").json()["code"] == "invalid_parameter"
