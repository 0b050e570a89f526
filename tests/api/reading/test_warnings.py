from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

WARNINGS = "/api/v1/warnings"


def told(client: TestClient) -> Any:
    response = client.get(WARNINGS)
    assert response.status_code == 200
    return response.json()


def track(client: TestClient, *events: Any) -> int:
    return client.post("/api/v1/track", json={"events": events}).status_code


def test_nothing_to_mend_is_an_empty_list(acme: TestClient) -> None:
    track(acme, event())
    assert told(acme) == {"counts": {}, "warnings": []}


def test_a_refused_event_is_told_with_its_name_and_reason(acme: TestClient) -> None:
    assert track(acme, event(), event(event="export_made", timestamp=7)) == 207
    assert track(acme, event(event="")) == 422
    warnings = told(acme)
    assert warnings["counts"] == {"timestamp_invalid": 1, "event_invalid": 1}
    newest, oldest = warnings["warnings"]
    assert newest.keys() == {"at", "code", "field", "message", "event"}
    assert (oldest["code"], oldest["field"], oldest["event"]) == ("timestamp_invalid", "timestamp", "export_made")
    assert newest["at"].endswith("Z")


def test_a_misspelt_field_is_visible(acme: TestClient) -> None:
    assert track(acme, event(timestmap="2025-12-01")) == 200
    (only,) = told(acme)["warnings"]
    assert (only["code"], only["field"], only["event"]) == ("unknown_field", "timestmap", "login")
    assert "did you mean `timestamp`" in only["message"]


@pytest.mark.parametrize(
    ("other", "usual"),
    [("email", "customer_email"), ("eventName", "event"), ("createdAt", "timestamp"), ("message-id", "event_id"),
     ("userId", "user_id"), ("data", "properties"), ("custmer_email", "customer_email")],
)  # fmt: skip
def test_a_field_by_another_products_name_is_visible(acme: TestClient, other: str, usual: str) -> None:
    assert track(acme, event(**{other: "x"})) == 200
    (only,) = told(acme)["warnings"]
    assert only["message"].endswith(f"; did you mean `{usual}`?")


@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        (b"{", {}, "malformed_json"),
        (b" " * 5_000_000, {}, "payload_too_large"),
        (b'{"events":[' + b",".join([b"{}"] * 101) + b"]}", {}, "batch_too_large"),
        (b"{}", {"headers": {"Content-Encoding": "br"}}, "unsupported_encoding"),
    ],
)
def test_a_refused_request_is_told(acme: TestClient, body: bytes, options: dict[str, Any], code: str) -> None:
    acme.post("/api/v1/track", content=body, **options)
    assert told(acme)["counts"] == {code: 1}


def test_what_looks_wrong_in_valid_events_is_told_without_its_value(acme: TestClient, work: Callable[[], None]) -> None:
    track(acme, event(event="featureUsed", properties={"card": "4111 1111 1111 1111"}))
    work()
    warnings = told(acme)
    assert warnings["counts"] == {"near_duplicate_name": 1, "personal_data": 1}
    assert {warning["field"] for warning in warnings["warnings"]} == {"event", "properties.card"}
    assert "4111" not in str(warnings)


def test_warnings_belong_to_their_account(acme: TestClient, connection: Connection, redis: Redis) -> None:
    track(acme, event(event=""))
    acme.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert told(acme) == {"counts": {}, "warnings": []}
    acme.headers["X-API-Key"] = keys.create(connection, redis, "other", publishable=True).secret
    assert acme.get(WARNINGS).status_code == 403
