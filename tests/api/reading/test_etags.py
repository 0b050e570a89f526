"""`ETag` and `If-None-Match`."""

from collections.abc import Callable

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.reading import analytics, series
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

PATHS = (
    "/customers",
    "/customers/jane@example.com",
    "/customers/jane@example.com/events",
    "/customers/jane@example.com/risk",
    "/analytics/events",
    "/analytics/events/login",
    "/analytics/risk",
    "/model",
    "/warnings",
)


@pytest.fixture
def jane(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """The service, with a customer who has a risk."""
    acme.post("/api/v1/track", json={"events": [event()]})
    work()
    return acme


@pytest.mark.parametrize("path", PATHS)
def test_what_has_not_changed_is_not_sent_again(jane: TestClient, path: str) -> None:
    first = jane.get("/api/v1" + path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert first.headers["Vary"] == "X-API-Key"
    for tag in (first.headers["ETag"], f'"x", {first.headers["ETag"]}', first.headers["ETag"].removeprefix("W/")):
        again = jane.get("/api/v1" + path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    assert jane.get("/api/v1" + path, headers={"If-None-Match": 'W/"x"'}).status_code == 200


@pytest.mark.parametrize("path", [PATHS[0], PATHS[1], PATHS[2], PATHS[4], PATHS[5]])
def test_what_has_changed_is_sent(jane: TestClient, work: Callable[[], None], path: str) -> None:
    before = jane.get("/api/v1" + path)
    jane.post("/api/v1/track", json={"events": [event(), event(event="report_shared")]})
    work()
    after = jane.get("/api/v1" + path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.json() != before.json()


@pytest.mark.parametrize("path", ["/analytics/events", "/analytics/events/login"])
def test_totals_that_have_not_changed_are_not_read(
    jane: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    tag = jane.get("/api/v1" + path).headers["ETag"]
    monkeypatch.delattr(analytics, "read_events")
    monkeypatch.delattr(series, "read_event")
    assert jane.get("/api/v1" + path, headers={"If-None-Match": tag}).status_code == 304
    other = jane.get("/api/v1" + path + "?interval=week", headers={"If-None-Match": tag})
    assert other.status_code == 500  # a tag is that of one question


def test_a_tag_is_of_one_account(jane: TestClient, connection: Connection, redis: Redis) -> None:
    tag = jane.get("/api/v1/analytics/events").headers["ETag"]
    jane.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert jane.get("/api/v1/analytics/events", headers={"If-None-Match": tag}).json() == {"events": []}


def test_refusals_have_no_tag(jane: TestClient) -> None:
    for path in ("/customers/nobody@example.com", "/analytics/events/nothing", "/customers?limit=x"):
        assert "ETag" not in jane.get("/api/v1" + path).headers


def test_erasing_has_no_tag(jane: TestClient) -> None:
    before = jane.get("/api/v1/customers/jane@example.com")
    erased = jane.delete("/api/v1/customers/jane@example.com", headers={"If-None-Match": before.headers["ETag"]})
    assert (erased.status_code, "ETag" in erased.headers) == (202, False)
