import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.health import probes
from api.track.endpoint import Track

GIVEN = {"X-Request-Id": "from-the-proxy.1"}
EVENT = {"event": "login", "customer_email": "jane@example.com"}


def answered(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The log records of answers."""
    names = ("levelname", "method", "endpoint", "status")
    return [
        {name: getattr(record, name) for name in names} for record in caplog.records if record.message == "answered"
    ]


@pytest.mark.parametrize(
    "path", ["/api/v1/customers", "/api/v1/customers/nobody@example.com", "/readyz", "/nowhere", "/docs"]
)
def test_every_answer_carries_the_id_of_its_request(acme: TestClient, path: str) -> None:
    """The client's own, where it gave one."""
    assert acme.get(path, headers=GIVEN).headers["x-request-id"] == "from-the-proxy.1"
    first, second = (acme.get(path).headers["x-request-id"] for _ in range(2))
    assert first != second
    assert len(first) == 16


@pytest.mark.parametrize("id_", ["", "a b", "x" * 65, "<script>", "jane@example.com"])
def test_an_id_that_may_not_stand_in_a_log_is_replaced(acme: TestClient, id_: str) -> None:
    response = acme.get("/api/v1/customers", headers={"X-Request-Id": id_})
    assert (response.status_code, len(response.headers["x-request-id"])) == (200, 16)


def test_what_was_asked_for_is_logged_and_whom_it_was_about_is_not(
    acme: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        acme.get("/api/v1/customers/jane@example.com/events")
        acme.get("/healthz")
    assert answered(caplog) == [{"levelname": "INFO", "method": "GET", "endpoint": "list_events", "status": 404}]
    ours = [str(vars(record)) for record in caplog.records if record.name.startswith(("api", "workers"))]
    assert not [our for our in ours if "jane" in our]


def test_reading_that_goes_well_is_logged_to_debug_only(acme: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """A page that refreshes itself would fill the log; what changes or is refused stands in it."""
    with caplog.at_level(logging.DEBUG):
        acme.get("/api/v1/customers")
        acme.get("/docs")
        acme.get("/api/v1/customers?limit=none")
        acme.put("/api/v1/mappings", json={"mappings": {}})
        acme.get("/readyz?nothing")
    assert [(each["levelname"], each["method"], each["status"]) for each in answered(caplog)] == [
        ("DEBUG", "GET", 200),
        ("DEBUG", "GET", 200),
        ("INFO", "GET", 422),
        ("INFO", "PUT", 200),
        ("DEBUG", "GET", 200),
    ]


def test_an_answer_that_is_our_fault_is_a_warning_and_carries_the_id(
    acme: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "find_redis_fault", lambda redis: 1 / 0)
    response = acme.get("/readyz", headers=GIVEN)
    assert (response.status_code, response.headers["x-request-id"]) == (500, "from-the-proxy.1")
    assert answered(caplog)[-1] | {"endpoint": ""} == {
        "levelname": "WARNING",
        "method": "GET",
        "endpoint": "",
        "status": 500,
    }


def test_track_answers_with_the_id_where_it_refuses(acme: TestClient) -> None:
    assert "x-request-id" not in acme.post("/api/v1/track", json=EVENT, headers=GIVEN).headers
    refused = acme.post("/api/v1/track", json={}, headers=GIVEN)
    assert (refused.status_code, refused.headers["x-request-id"]) == (422, "from-the-proxy.1")


def test_a_fault_in_track_is_logged_with_the_id(
    acme: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Track, "_write", lambda *given: 1 / 0)
    response = acme.post("/api/v1/track", json=EVENT)
    assert response.status_code == 500
    (record,) = [one for one in caplog.records if one.message == "a request could not be handled"]
    assert record.exc_info
    with caplog.at_level(logging.DEBUG, "api.track.endpoint"):
        refused = acme.post("/api/v1/track", json={})
    assert caplog.records[-1].__dict__["request_id"] == refused.headers["x-request-id"]
