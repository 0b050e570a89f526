"""Segment's door: the messages of its documentation, and its own Python library."""

import gzip
import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from segment.analytics.client import Client
from starlette.testclient import TestClient

from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.store import Connection

JANE = "jane@example.com"
Work = Callable[[], None]


@pytest.fixture
def segment(client: TestClient, key: NewKey) -> TestClient:
    """The service as Segment's libraries speak to it."""
    client.headers["Authorization"] = basic(key.secret)
    return client


def basic(secret: str) -> str:
    return f"Basic {b64encode(f'{secret}:'.encode()).decode()}"


def send(client: TestClient, call: str, **message: Any) -> None:
    answer = client.post(f"/v1/{call}", json=message)
    assert (answer.status_code, answer.json()) == (200, {"success": True})


def timeline(client: TestClient, key: NewKey, email: str = JANE) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/customers/{email}/events", headers={"X-API-Key": key.secret})
    return list(answer.json()["events"]) if answer.status_code == 200 else []


def warned(client: TestClient, key: NewKey) -> dict[str, int]:
    return dict(client.get("/api/v1/warnings", headers={"X-API-Key": key.secret}).json()["counts"])


@pytest.mark.parametrize(
    "where",
    [
        {"traits": {"email": JANE}},
        {"context": {"traits": {"email": JANE}}},
        {"properties": {"email": JANE}},
        {"userId": JANE},
        {"userId": "u1", "context": {"traits": {"email": " Jane@Example.com"}}},
    ],
)
def test_the_address_is_found_where_segment_has_it(
    segment: TestClient, key: NewKey, work: Work, where: dict[str, Any]
) -> None:
    send(segment, "track", event="Report Shared", messageId="m1", **where)
    work()
    assert [event["event"] for event in timeline(segment, key)] == ["Report Shared"]


def test_a_user_id_is_whose_identify_said(segment: TestClient, key: NewKey, work: Work) -> None:
    send(segment, "track", userId="u1", event="Signed In", messageId="m1")
    send(segment, "identify", userId="u1", traits={"email": JANE, "plan": "pro"}, messageId="m2")
    send(segment, "track", userId="u1", event="Signed In", messageId="m1")
    send(segment, "track", userId=1042, event="Signed In", messageId="m3")
    send(segment, "alias", previousId="1042", userId=JANE)
    work()
    assert len(timeline(segment, key)) == 2


def test_views_are_events_with_their_page(segment: TestClient, key: NewKey, work: Work) -> None:
    send(segment, "page", userId=JANE, name="Pricing", properties={"path": "/pricing"}, messageId="m1")
    send(segment, "page", userId=JANE, properties={"path": "/home", "title": "Home"}, messageId="m2")
    send(segment, "s", userId=JANE, name="Settings", messageId="m3")
    work()
    views = {(event["event"], event["properties"]["page"]) for event in timeline(segment, key)}
    assert views == {("page_viewed", "Pricing"), ("page_viewed", "/home"), ("screen_viewed", "Settings")}


def test_a_batch_holds_all_kinds_and_bad_ones_cost_only_themselves(
    segment: TestClient, key: NewKey, work: Work
) -> None:
    batch = [
        {"type": "identify", "userId": "u1", "traits": {"email": JANE}, "messageId": "1"},
        {"type": "track", "userId": "u1", "event": "Signed In", "messageId": "2"},
        {"type": "group", "userId": "u1", "groupId": "g1", "traits": {"name": "Example Ltd"}, "messageId": "3"},
        {"type": "track", "userId": "u1", "event": "", "messageId": "4"},
        {"type": "track", "anonymousId": "a1", "event": "Visited", "messageId": "5"},
        {"type": "sing", "userId": "u1", "messageId": "6"},
        {"type": "track", "userId": "u1", "event": "Old", "timestamp": "1999-01-01T00:00:00Z", "messageId": "7"},
    ]
    send(segment, "batch", batch=batch)
    work()
    assert [event["event"] for event in timeline(segment, key)] == ["Signed In"]
    counts = warned(segment, key)
    assert (counts["event_invalid"], counts["customer_email_invalid"], counts["timestamp_invalid"]) == (1, 2, 1)


def test_a_group_is_the_company_and_leaves_the_plan(segment: TestClient, key: NewKey, work: Work) -> None:
    send(segment, "identify", userId="u1", traits={"email": JANE, "plan": "pro"})
    send(segment, "group", userId="u1", groupId="g1", traits={"name": "Example Ltd", "seats": 9})
    send(segment, "track", userId="u1", event="Signed In", messageId="m1")
    work()
    shown = segment.get(f"/api/v1/customers/{JANE}", headers={"X-API-Key": key.secret}).json()
    assert (shown["company"], shown["plan"]) == ("Example Ltd", "pro")


def test_a_message_that_is_sent_again_is_stored_once(segment: TestClient, key: NewKey, work: Work) -> None:
    for message_id in ("m1", "m1", "x" * 100, "x" * 100, "a b", "a b"):
        send(segment, "track", userId=JANE, event="Signed In", messageId=message_id)
    work()
    assert len(timeline(segment, key)) == 3


def test_a_device_whose_clock_is_wrong_is_corrected(segment: TestClient, key: NewKey, work: Work) -> None:
    wrong = datetime.now(UTC) + timedelta(days=300)
    message = {"timestamp": (wrong - timedelta(hours=2)).isoformat(), "sentAt": wrong.isoformat()}
    send(segment, "track", userId=JANE, event="Signed In", messageId="m1", **message)
    work()
    (event,) = timeline(segment, key)
    happened = datetime.fromisoformat(event["timestamp"])
    assert abs((datetime.now(UTC) - happened) - timedelta(hours=2)) < timedelta(minutes=5)


def test_bodies_may_be_gzip_and_are_limited(segment: TestClient, key: NewKey, work: Work) -> None:
    message = {"type": "track", "userId": JANE, "event": "Signed In"}
    packed = gzip.compress(json.dumps({"batch": [message]}).encode())
    assert segment.post("/v1/batch", content=packed, headers={"Content-Encoding": "gzip"}).status_code == 200
    large = {"batch": [{**message, "properties": {"a": "x" * 1000}}] * 600}
    assert segment.post("/v1/batch", json=large).json()["code"] == "payload_too_large"
    assert segment.post("/v1/batch", json={"batch": [{}] * 2501}).json()["code"] == "batch_too_large"
    assert segment.post("/v1/batch", json={"batch": [{"type": "track"}] * 2500}).status_code == 200
    work()
    assert len(timeline(segment, key)) == 1


@pytest.mark.parametrize("half", ["\ud83d", "x\ude00y", "\ud83d\ud83d\ude00"])
def test_a_text_cut_through_an_emoji_is_read_and_costs_no_other_message(
    segment: TestClient, key: NewKey, work: Work, half: str
) -> None:
    """As Segment's libraries for Python and for browsers write it."""
    messages = [{"type": "track", "event": name, "userId": JANE, "properties": {"note": half}} for name in ("a", "b")]
    batch = json.dumps({"batch": [*messages, {"type": "track", "event": "c", "userId": JANE}]}).encode()
    assert segment.post("/v1/batch", content=batch).status_code == 200
    assert segment.post("/v1/track", content=json.dumps({**messages[0], "event": "d"}).encode()).status_code == 200
    work()
    events = {event["event"]: event["properties"] for event in timeline(segment, key)}
    note = half.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert events == {"a": {"note": note}, "b": {"note": note}, "c": {}, "d": {"note": note}}


@pytest.mark.parametrize("item", [5, None, "x", []])
def test_an_item_that_is_no_message_costs_only_itself(segment: TestClient, key: NewKey, work: Work, item: Any) -> None:
    send(segment, "batch", batch=[item, {"type": "track", "event": "a", "userId": JANE}])
    work()
    assert [event["event"] for event in timeline(segment, key)] == ["a"]
    assert sum(warned(segment, key).values()) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("batch", b"{", 400, "malformed_json"),
        ("batch", b'{"batch":1}', 400, "malformed_json"),
        ("batch", b"{}", 400, "malformed_json"),
        ("track", b"[]", 400, "malformed_json"),
        ("sing", b"{}", 404, "not_found"),
    ],
)
def test_what_stands_in_the_way_of_all_is_an_error(
    segment: TestClient, path: str, body: bytes, status: int, code: str
) -> None:
    answer = segment.post(f"/v1/{path}", content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_the_key_may_be_in_the_body_and_must_be_one(client: TestClient, key: NewKey) -> None:
    assert client.post("/v1/t", json={"userId": JANE, "event": "x", "writeKey": key.secret}).status_code == 200
    assert client.post("/v1/t", json={"userId": JANE, "event": "x"}).status_code == 401
    for authorization in (basic("sk_live_nothing"), "Basic !!", "Bearer x"):
        answer = client.post("/v1/t", json={"userId": JANE}, headers={"Authorization": authorization})
        assert answer.status_code == 401


def test_a_publishable_key_tracks_and_names_and_moves_nobody(
    client: TestClient, key: NewKey, work: Work, connection: Connection, redis: Redis
) -> None:
    public = keys.create(connection, redis, "acme", publishable=True).secret
    client.headers["Authorization"] = basic(public)
    send(client, "identify", userId="u1", traits={"email": JANE})
    send(client, "track", userId="u1", event="Signed In", messageId="m1")
    work()
    send(client, "identify", userId="u1", traits={"email": "mallory@example.com"})
    work()
    assert len(timeline(client, key)) == 1
    assert timeline(client, key, "mallory@example.com") == []


def test_browsers_of_any_site_may_ask(client: TestClient) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Headers": "authorization, content-type"}
    answer = client.options("/v1/t", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert "authorization" in answer.headers["access-control-allow-headers"]


def test_the_settings_of_the_browser_library_lead_here(client: TestClient) -> None:
    integration = client.get("/v1/projects/pk_live_x/settings").json()["integrations"]["Segment.io"]
    assert (integration["apiHost"], integration["apiKey"], integration["protocol"]) == (
        "testserver/v1",
        "pk_live_x",
        "http",
    )


def test_posthogs_webhook_is_understood(client: TestClient, key: NewKey, work: Work) -> None:
    """As its destination sends it unless told otherwise."""
    event = {
        "uuid": "01907f4c-0000-0000-0000-000000000001",
        "event": "$pageview",
        "distinct_id": "ph-1",
        "timestamp": "2026-01-01T10:00:00.000Z",
        "properties": {"$current_url": "https://shop.example/pricing?x=1", "$lib": "web", "colour": "red"},
        "elements_chain": "",
        "url": "https://us.posthog.com/projects/1/events/1234",
    }
    person = {
        "id": "p1",
        "name": "Jane",
        "url": "https://us.posthog.com/projects/1/persons/1234",
        "properties": {"email": JANE, "$browser": "Chrome"},
    }
    for _ in range(2):
        answer = client.post("/v1/webhook", json={"event": event, "person": person}, headers={"X-API-Key": key.secret})
        assert answer.json() == {"success": True}
    work()
    (stored,) = timeline(client, key)
    assert (stored["event"], stored["properties"]) == ("$pageview", {"colour": "red", "page": "/pricing"})


def test_a_visitor_whom_posthog_keeps_no_profile_of_is_nobody(client: TestClient, key: NewKey, work: Work) -> None:
    event = {"event": "$pageview", "distinct_id": "0191", "properties": {"$process_person_profile": False}}
    answer = client.post("/v1/webhook", json={"event": event, "person": None}, headers={"X-API-Key": key.secret})
    assert answer.json() == {"success": True}
    work()
    assert warned(client, key) == {"customer_email_invalid": 1}
    assert "windback_events_unresolved 0.0" in client.get("/metrics").text


def test_rudderstacks_webhook_is_understood(client: TestClient, key: NewKey, work: Work) -> None:
    message = {
        "type": "track",
        "channel": "web",
        "messageId": "0b3d0a1e-0000-4a4b-8d4c-000000000000",
        "originalTimestamp": "2026-01-01T10:00:00.000Z",
        "sentAt": "2026-01-01T10:00:00.000Z",
        "userId": "u1",
        "event": "Report Shared",
        "properties": {"pages": 3},
        "context": {"traits": {"email": JANE}, "library": {"name": "RudderLabs JavaScript SDK"}},
        "request_ip": "192.0.2.1",
        "rudderId": "r1",
    }
    assert client.post("/v1/webhook", json=message, headers={"X-API-Key": key.secret}).status_code == 200
    work()
    assert [event["event"] for event in timeline(client, key)] == ["Report Shared"]


@pytest.mark.parametrize("packed", [False, True])
def test_segments_python_library_works_with_another_host(
    client: TestClient, url: str, key: NewKey, work: Work, packed: bool
) -> None:
    faults: list[Exception] = []
    library = Client(key.secret, host=url, gzip=packed, on_error=lambda error, _: faults.append(error), max_retries=1)
    library.track("u1", "Signed In", {"page": "home"})
    library.identify("u1", {"email": JANE, "name": "Jane"})
    library.page("u1", "docs", "Pricing", {"path": "/pricing"})
    library.screen("u1", "app", "Settings")
    library.group("u1", "g1", {"name": "Example Ltd"})
    library.alias("old", "u1")
    library.track("u1", "Imported", timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    library.shutdown()
    assert faults == []
    work()
    names = {event["event"] for event in timeline(client, key)}
    assert names == {"Signed In", "page_viewed", "screen_viewed", "Imported"}
