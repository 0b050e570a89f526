import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.errors import CODES
from api.track import body as bodies
from tests.waiting import SOON, wait_until
from tests.workers.events import count, event
from workers import tickets
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.buffer.lanes import HISTORY, LIVE
from workers.settings import Settings
from workers.store import Connection

TRACK = "/api/v1/track"
OK = b'{"status":"ok"}'


def post(client: TestClient, *events: dict[str, Any], **options: Any) -> Any:
    return client.post(TRACK, json=events[0] if len(events) == 1 else {"events": events}, **options)


def refusal(response: Any) -> tuple[int, str]:
    """The status and the code of an error, whose shape is checked."""
    body = response.json()
    assert body["status"] == "error"
    assert body["message"]
    assert CODES[body["code"]].status == response.status_code
    assert response.headers["content-type"] == "application/json"
    return response.status_code, body["code"]


def test_an_event_is_answered_ok_once_it_is_in_the_buffer(acme: TestClient, redis: Redis) -> None:
    response = post(acme, event())
    assert (response.status_code, response.content) == (200, OK)
    assert redis.xlen(LIVE.stream) == 1


def test_a_batch_is_answered_ok_and_stored_whole(
    acme: TestClient, work: Callable[[], None], connection: Connection
) -> None:
    assert post(acme, *[event(properties={"n": n}) for n in range(100)]).content == OK
    work()
    assert count(connection, "events") == 100


def test_a_batch_with_invalid_events_is_partial(
    acme: TestClient, work: Callable[[], None], connection: Connection
) -> None:
    response = post(acme, event(), event(timestamp=7), event(event_id="a"))
    assert response.status_code == 207
    (rejected,) = response.json().pop("rejected")
    assert response.json() | {"rejected": 0} == {"status": "partial", "accepted": 2, "rejected": 0}
    assert rejected.keys() == {"index", "field", "code", "message"}
    assert (rejected["index"], rejected["field"], rejected["code"]) == (1, "timestamp", "timestamp_invalid")
    work()
    assert count(connection, "events") == 2


def test_what_was_accepted_can_be_read_back_equal(acme: TestClient, work: Callable[[], None]) -> None:
    properties = {"ü": "🦶\u2028\ufeff", "n": 12345678901234567890123, "f": 0.1, "e": {}, "l": [None, True, "\\u0000"]}
    post(acme, event(event="Füße", timestamp="2025-12-01T10:00:00.000001+02:00", properties=properties))
    work()
    (stored,) = acme.get("/api/v1/customers/jane@example.com/events").json()["events"]
    assert stored.pop("received_at")
    assert stored == {"event": "Füße", "timestamp": "2025-12-01T08:00:00.000001Z", "properties": properties}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("sk_live_unknown", "invalid_api_key"),
        ("hello", "invalid_api_key"),
        ("sk_live_" + "x" * 5000, "invalid_api_key"),
        ("sk_live_ä", "invalid_api_key"),
    ],
)
def test_a_wrong_key_is_refused(acme: TestClient, redis: Redis, sent: str | None, code: str) -> None:
    del acme.headers["X-API-Key"]
    headers = {} if sent is None else {"X-API-Key": sent.encode()}
    assert refusal(post(acme, event(), headers=headers)) == (401, code)
    assert redis.xlen(LIVE.stream) == 0


def test_a_revoked_key_is_refused(client: TestClient, connection: Connection, redis: Redis) -> None:
    created = keys.create(connection, redis, "acme")
    keys.revoke(connection, redis, created.key_id)
    assert refusal(post(client, event(), headers={"X-API-Key": created.secret})) == (401, "invalid_api_key")


def test_a_key_is_remembered_for_a_while_and_not_longer(
    acme: TestClient, key: NewKey, connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert post(acme, event()).status_code == 200
    keys.revoke(connection, redis, key.key_id)
    assert post(acme, event()).status_code == 200
    now = time.monotonic()
    monkeypatch.setattr("api.auth.time.monotonic", lambda: now + 11)
    assert refusal(post(acme, event())) == (401, "invalid_api_key")


def test_a_publishable_key_may_track_and_nothing_else(client: TestClient, connection: Connection, redis: Redis) -> None:
    created = keys.create(connection, redis, "acme", publishable=True)
    client.headers["X-API-Key"] = created.secret
    assert post(client, event()).content == OK
    assert refusal(client.get("/api/v1/customers")) == (403, "key_not_allowed")


def test_keys_that_are_not_mirrored_yet_are_not_called_invalid(acme: TestClient, redis: Redis) -> None:
    """A Redis that lost its keys must not tell producers to throw theirs away."""
    redis.flushall()
    response = post(acme, event())
    assert refusal(response) == (503, "buffer_unavailable")
    assert response.headers["retry-after"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "malformed_json")),
        (b"[" * 10_000, (400, "malformed_json")),
        (b'{"event":"\xff"}', (400, "malformed_json")),
        (b"[]", (400, "malformed_json")),
        (b"{}", (422, "invalid_event")),
        (b'{"events":[]}', (422, "invalid_event")),
        (b'{"event":"a\\u0000","customer_email":"a@b.cd"}', (422, "invalid_event")),
        (b'{"event":"x","customer_email":"a@b.cd","timestamp":1764583200}', (422, "invalid_event")),
        (b'{"events":[' + b",".join([b"{}"] * 101) + b"]}", (413, "batch_too_large")),
        (b" " * (4 * 1024 * 1024 + 1), (413, "payload_too_large")),
    ],
)
def test_what_cannot_be_taken_is_told_why(acme: TestClient, body: bytes, expected: tuple[int, str]) -> None:
    assert refusal(acme.post(TRACK, content=body)) == expected


def test_a_bare_list_is_refused_with_the_shape_of_a_batch(acme: TestClient) -> None:
    message = acme.post(TRACK, json=[event()]).json()["message"]
    assert message == 'The body must be a JSON object: an event, or {"events": […]} for several.'


def test_a_chunked_body_is_measured_while_it_comes(acme: TestClient) -> None:
    good = msgspec.json.encode(event())
    assert acme.post(TRACK, content=iter([good[:20], good[20:]])).content == OK
    assert refusal(acme.post(TRACK, content=iter([b" " * 1024 * 1024] * 5))) == (413, "payload_too_large")


def test_any_content_type_is_read_as_json(acme: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = acme.post(TRACK, content=msgspec.json.encode(event()), headers={"Content-Type": kind})
        assert response.content == OK


def test_a_gzip_body_is_read(acme: TestClient) -> None:
    def packed(body: bytes) -> Any:
        return acme.post(TRACK, content=body, headers={"Content-Encoding": "gzip"})

    good = gzip.compress(msgspec.json.encode(event()))
    assert packed(good).content == OK
    assert refusal(packed(good[:-5])) == (400, "malformed_gzip")
    assert refusal(packed(good + b"x")) == (400, "malformed_gzip")
    assert refusal(packed(b"plain")) == (400, "malformed_gzip")
    assert refusal(packed(gzip.compress(bytes(5 * 1024 * 1024)))) == (413, "payload_too_large")


def test_an_unknown_encoding_is_refused(acme: TestClient) -> None:
    response = acme.post(TRACK, content=b"{}", headers={"Content-Encoding": "br"})
    assert refusal(response) == (415, "unsupported_encoding")
    identity = {"Content-Encoding": "identity"}
    assert acme.post(TRACK, content=msgspec.json.encode(event()), headers=identity).content == OK


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused_in_our_shape(acme: TestClient, method: str) -> None:
    response = acme.request(method, TRACK)
    assert refusal(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST, OPTIONS"
    assert refusal(acme.request("POST", "/api/v1/customers")) == (405, "method_not_allowed")
    assert refusal(acme.request(method, "/nowhere")) == (404, "not_found")


def test_a_browser_may_ask_from_anywhere_without_a_key(client: TestClient) -> None:
    response = client.options(TRACK, headers={"Origin": "https://shop.example"})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert "x-api-key" in response.headers["access-control-allow-headers"]
    assert response.headers["access-control-max-age"] == "86400"
    assert post(client, event()).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in client.get("/api/v1/customers").headers


@pytest.mark.parametrize(
    "asked", ["traceparent,baggage,sentry-trace", "x-requested-with", "X-A, x-b", "content-type,x-api-key,x-datadog-id"]
)
def test_a_preflight_allows_what_is_asked_for(client: TestClient, asked: str) -> None:
    response = client.options(
        TRACK, headers={"Origin": "https://shop.example", "Access-Control-Request-Headers": asked}
    )
    allowed = {name.strip() for name in response.headers["access-control-allow-headers"].split(",")}
    assert allowed >= {"content-type", "x-api-key", "content-encoding", *(name.strip() for name in asked.split(","))}


@pytest.mark.parametrize("asked", ["a b", "a\tb", "é", '"', "x" * 5000, ","])
def test_a_preflight_repeats_only_names(client: TestClient, asked: str) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Headers": asked.encode()}
    response = client.options(TRACK, headers=headers)  # type: ignore[arg-type]
    assert response.headers["access-control-allow-headers"] == "content-type, x-api-key, content-encoding"


def codes_of(client: TestClient) -> dict[str, int]:
    wait_until(lambda: client.get("/api/v1/warnings").json()["counts"])
    counts: dict[str, int] = client.get("/api/v1/warnings").json()["counts"]
    return counts


@pytest.mark.parametrize("origin", ["https://shop.example", "null", "http://testserver:81"])
def test_a_secret_key_in_a_browser_is_a_warning_that_names_the_site(acme: TestClient, origin: str) -> None:
    assert post(acme, event(), headers={"Origin": origin}).status_code == 200
    assert codes_of(acme) == {"secret_key_in_browser": 1}
    assert origin in acme.get("/api/v1/warnings").json()["warnings"][0]["message"]


def test_keys_where_they_belong_are_no_warning(acme: TestClient, connection: Connection, redis: Redis) -> None:
    publishable = keys.create(connection, redis, "acme", publishable=True).secret
    shop = {"Origin": "https://shop.example"}
    assert post(acme, event(), headers={**shop, "X-API-Key": publishable}).status_code == 200
    assert post(acme, event(), headers={"Origin": "http://testserver"}).status_code == 200  # our own page
    assert post(acme, {**event(), "unknown": 1}).status_code == 200
    assert codes_of(acme) == {"unknown_field": 1}


@pytest.mark.parametrize(
    ("timestamp", "lane"), [(None, LIVE), ("2025-12-01T10:00:00Z", HISTORY)], ids=["live", "history"]
)
def test_history_takes_a_lane_of_its_own(acme: TestClient, redis: Redis, timestamp: str | None, lane: Any) -> None:
    post(acme, event(timestamp=timestamp))
    assert redis.xlen(lane.stream) == 1
    wait_until(lambda: tickets.count_waiting(redis, lane.queue) == 1)


def test_redis_away_is_503_and_over_by_itself(acme: TestClient, redis: Redis) -> None:
    """Never ok for what is not buffered, never a hang."""
    assert post(acme, event()).status_code == 200
    redis.client_pause(4_000)
    began = time.monotonic()
    response = post(acme, event())
    assert time.monotonic() - began < SOON
    assert refusal(response) == (503, "buffer_unavailable")
    assert int(response.headers["retry-after"]) >= 1
    redis.client_unpause()
    assert post(acme, event()).status_code == 200


def test_the_door_works_while_postgres_is_away(settings: Settings, key: NewKey) -> None:
    away = msgspec.structs.replace(settings, database_url="postgresql://127.0.0.1:1/nowhere")
    with TestClient(create_app(away)) as client:
        client.headers["X-API-Key"] = key.secret
        assert post(client, event()).content == OK
        assert client.get("/readyz").status_code == 200
        assert refusal(client.get("/api/v1/customers")) == (503, "store_unavailable")


def test_a_body_that_does_not_arrive_is_given_up(acme: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"event":'
        await asyncio.Event().wait()

    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    app, headers = acme.app, [(b"x-api-key", acme.headers["X-API-Key"].encode())]
    parts = slow()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(parts), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    async def call() -> None:
        scope = {"type": "http", "method": "POST", "path": TRACK, "headers": headers, "query_string": b""}
        await app(scope, receive, send)

    assert acme.portal
    acme.portal.call(call)
    assert sent[0]["status"] == 408
    assert b"body_timeout" in sent[1]["body"]


def test_a_keys_limit_is_kept_exactly(client: TestClient, connection: Connection, redis: Redis) -> None:
    limited = keys.create(connection, redis, "acme", rate_limit=5)
    client.headers["X-API-Key"] = limited.secret
    statuses = [post(client, event()).status_code for _ in range(5)]
    response = post(client, *[event()] * 5)
    assert statuses == [200] * 5
    assert refusal(response) == (429, "rate_limited")
    assert response.headers["retry-after"] == "1"
    assert redis.hget(LIVE.ledger, "accepted") == b"5"


def test_a_publishable_key_has_a_limit_of_its_own(client: TestClient, connection: Connection, redis: Redis) -> None:
    client.headers["X-API-Key"] = keys.create(connection, redis, "acme", publishable=True).secret
    assert post(client, *[event()] * 100).status_code == 200
    assert refusal(post(client, *[event()] * 100)) == (429, "rate_limited")


@pytest.mark.parametrize(("timestamp", "cap"), [(None, 3), ("2025-12-01", 6)], ids=["live", "history"])
def test_a_full_buffer_is_told_and_over_by_itself(
    settings: Settings, key: NewKey, work: Callable[[], None], timestamp: str | None, cap: int
) -> None:
    """The live lane is refused at the cap, history at half of it."""
    with TestClient(create_app(msgspec.structs.replace(settings, buffer_events=cap))) as client:
        client.headers["X-API-Key"] = key.secret
        for n in range(3):
            assert post(client, event(timestamp=timestamp, properties={"n": n})).status_code == 200
        response = post(client, event(timestamp=timestamp))
        assert refusal(response) == (503, "buffer_full")
        assert int(response.headers["retry-after"]) > 0
        work()
        wait_until(lambda: post(client, event(timestamp=timestamp)).status_code == 200)


def test_a_redis_out_of_memory_is_full_and_takes_nothing_in_half(acme: TestClient, redis: Redis) -> None:
    assert post(acme, event()).status_code == 200
    redis.config_set("maxmemory", "1mb")
    try:
        assert refusal(post(acme, event(), event())) == (503, "buffer_full")
    finally:
        redis.config_set("maxmemory", "0")
    assert redis.hget(LIVE.ledger, "accepted") == b"1"
    assert redis.xlen(LIVE.stream) == 1
    assert post(acme, event()).status_code == 200
