"""The table of the track route, over a socket: every bound, at it and just over it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from api.errors import CODES
from tests.acceptance.door import OK, TRACK, Door
from tests.workers.events import event

MIB = 1024 * 1024


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """The status and the code of an error, whose shape is checked."""
    body = answer.json()
    assert list(body)[:3] == ["status", "code", "message"]
    assert body["status"] == "error"
    assert body["message"]
    assert body.keys() <= {"status", "code", "message", "rejected"}
    assert CODES[body["code"]].status == answer.status_code
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, body["code"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def minutes_ahead(minutes: int) -> Callable[[], str]:
    """A moment ahead of the test, not of when tests are collected."""
    return lambda: (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def sent_now(fields: dict[str, Any]) -> dict[str, Any]:
    return event(**{name: value() if callable(value) else value for name, value in fields.items()})


@pytest.mark.parametrize(
    ("fits", "over", "code"),
    [
        ({"event": "e" * 200}, {"event": "e" * 201}, "event_invalid"),
        ({"event": "\U0001f9b6" * 200}, {"event": "\U0001f9b6" * 201}, "event_invalid"),
        ({"event": "a b"}, {"event": "a\tb"}, "event_invalid"),
        ({"event": "x"}, {"event": " "}, "event_invalid"),
        ({"event": "x"}, {"event": ""}, "event_invalid"),
        ({"event": "x"}, {"event": None}, "event_invalid"),
        (
            {"customer_email": "a" * 242 + "@example.com"},
            {"customer_email": "a" * 243 + "@example.com"},
            "customer_email_invalid",
        ),
        (
            {"customer_email": "\t Jane@Example.COM \n"},
            {"customer_email": "jane@example"},
            "customer_email_invalid",
        ),
        ({"customer_email": "jane@b\u00fccher.example"}, {"customer_email": "jane@.example"}, "customer_email_invalid"),
        (
            {"properties": {"a": "x" * (32 * 1024 - 8)}},
            {"properties": {"a": "x" * (32 * 1024 - 7)}},
            "properties_invalid",
        ),
        (
            {"properties": {str(n): n for n in range(255)}},
            {"properties": {str(n): n for n in range(256)}},
            "properties_invalid",
        ),
        ({"properties": nested(10)}, {"properties": nested(11)}, "properties_invalid"),
        ({"properties": {}}, {"properties": []}, "properties_invalid"),
        ({"properties": {"a": "\\u0000"}}, {"properties": {"a": "\0"}}, "properties_invalid"),
        ({"timestamp": "2000-01-01T00:00:00Z"}, {"timestamp": "1999-12-31T23:59:59Z"}, "timestamp_invalid"),
        ({"timestamp": minutes_ahead(59)}, {"timestamp": minutes_ahead(61)}, "timestamp_invalid"),
        ({"timestamp": "20251201T100000.5+0130"}, {"timestamp": 1764583200}, "timestamp_invalid"),
        ({"timestamp": "2025-12-01"}, {"timestamp": "1764583200"}, "timestamp_invalid"),
        ({"event_id": "A-z_0.9:" * 8}, {"event_id": "a" * 65}, "event_id_invalid"),
        ({"event_id": "a"}, {"event_id": ""}, "event_id_invalid"),
        ({"event_id": None}, {"event_id": "a b"}, "event_id_invalid"),
    ],
)
def test_a_bound_is_where_it_is_promised(
    client: httpx2.Client, fits: dict[str, Any], over: dict[str, Any], code: str
) -> None:
    """Alone and in a batch: what fits is ok, what is over is named, and the rest of its batch is taken."""
    good, bad = sent_now(fits), sent_now(over)
    answer = client.post(TRACK, json=good)
    assert (answer.status_code, answer.content) == (200, OK)
    answer = client.post(TRACK, json=bad)
    assert refusal(answer) == (422, "invalid_event")
    assert [(one["index"], one["code"]) for one in answer.json()["rejected"]] == [(0, code)]
    answer = client.post(TRACK, json={"events": [good, bad, event(), bad]})
    assert answer.status_code == 207
    body = answer.json()
    assert list(body) == ["status", "accepted", "rejected"]
    assert (body["status"], body["accepted"]) == ("partial", 2)
    assert [(one["index"], one["code"]) for one in body["rejected"]] == [(1, code), (3, code)]
    assert all(list(one) == ["index", "field", "code", "message"] and one["message"] for one in body["rejected"])


def test_an_unread_field_changes_nothing(client: httpx2.Client) -> None:
    answer = client.post(TRACK, json=event(timestmap="2025-12-01"))
    assert (answer.status_code, answer.content) == (200, OK)


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413), (0, 422)])
def test_a_batch_has_1_to_100_events(client: httpx2.Client, size: int, status: int) -> None:
    answer = client.post(TRACK, json={"events": [event()] * size})
    assert answer.status_code == status
    if status != 200:
        assert refusal(answer)[1] == {413: "batch_too_large", 422: "invalid_event"}[status]


@pytest.mark.parametrize(("size", "status"), [(4 * MIB, 200), (4 * MIB + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_at_most_4_mib(client: httpx2.Client, size: int, status: int, chunked: bool) -> None:
    body = json.dumps(event()).encode().ljust(size)
    content: Any = iter([body[: size // 2], body[size // 2 :]]) if chunked else body
    answer = client.post(TRACK, content=content)
    assert answer.status_code == status
    if status == 413:
        assert refusal(answer) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "malformed_json")),
        (b"{", (400, "malformed_json")),
        (b"[]", (400, "malformed_json")),
        (b"null", (400, "malformed_json")),
        (b'{"event":"\xff"}', (400, "malformed_json")),
        (b'{"event":"\\ud83d","customer_email":"a@b.cd"}', (400, "malformed_json")),
        (b"[" * 100_000, (400, "malformed_json")),
        (b'{"a":' * 100_000, (400, "malformed_json")),
        (b"{}", (422, "invalid_event")),
        (b'{"events":{}}', (422, "invalid_event")),
        (b'{"events":[{"event":"x","customer_email":"a@b.cd"}],"event":"x"}', (422, "invalid_event")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_event_is_told_why(client: httpx2.Client, body: bytes, expected: tuple[int, str]) -> None:
    assert refusal(client.post(TRACK, content=body)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-API-Key": ""}, (401, "missing_api_key")),
        ({"X-API-Key": "sk_live_unknown"}, (401, "invalid_api_key")),
        ({"X-API-Key": "unknown"}, (401, "invalid_api_key")),
        ({"Content-Encoding": "br"}, (415, "unsupported_encoding")),
        ({"Content-Encoding": "gzip, gzip"}, (415, "unsupported_encoding")),
        ({"Content-Encoding": "gzip"}, (400, "malformed_gzip")),
    ],
)
def test_a_header_that_is_wrong_is_told(
    client: httpx2.Client, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert refusal(client.post(TRACK, json=event(), headers=headers)) == expected


def test_no_key_at_all_is_told(service: Door) -> None:
    answer = httpx2.post(f"{service.line.url}{TRACK}", json=event())
    assert refusal(answer) == (401, "missing_api_key")


def test_a_publishable_key_may_track_and_nothing_else(service: Door, client: httpx2.Client) -> None:
    client.headers["X-API-Key"] = service.publishable
    assert client.post(TRACK, json=event()).content == OK
    for path in ("/api/v1/customers", "/api/v1/customers/jane@example.com", "/api/v1/customers/x@y.zz/events"):
        assert refusal(client.get(path)) == (403, "key_not_allowed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
def test_any_content_type_is_read_as_json(client: httpx2.Client, content_type: str) -> None:
    answer = client.post(TRACK, content=json.dumps(event()), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.content) == (200, OK)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused_in_our_shape(client: httpx2.Client, method: str) -> None:
    assert refusal(client.request(method, TRACK)) == (405, "method_not_allowed")


def test_head_is_refused_without_a_body(client: httpx2.Client) -> None:
    answer = client.head(TRACK)
    assert (answer.status_code, answer.content) == (405, b"")
