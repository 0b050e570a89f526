"""Attacks of a hostile or careless producer on the others: each of these worked once, or might."""

import base64
import json
from typing import Any

import httpx2
import pytest

from tests.acceptance.door import OK, TRACK, Door
from tests.waiting import wait_until
from tests.workers.events import event

JANE = '"customer_email":"jane@example.com"'
NOBODY = "00000000-0000-0000-0000-000000000000"


def forged(*position: Any) -> str:
    """A cursor that no page ever gave."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "poison",
    [
        f'{{"event":7,"event":"poison",{JANE}}}',
        f'{{"event":"poison",{JANE},"properties":{{"n":0.{"1" * 20_000}}}}}',
        f'{{"event":"poison",{JANE},"properties":{{"n":1e-999999999999}}}}',
        f'{{"event":"poison",{JANE},"properties":{{"n":0e999999999999}}}}',
        f'{{"event":"poison",{JANE},"properties":{{"\\u0001\\u001f":"\\u007f","__proto__":{{"constructor":1}},"":1}}}}',
        f'{{"event":"poison",{JANE},"note":{"[" * 900}{"]" * 900}}}',
        f'{{"event":"poison",{JANE},"properties":{{"a":{"[" * 900}{"]" * 900}}},"properties":{{}}}}',
        f'{{"event":"poison",{JANE},"properties":{{"feature":{"9" * 4000},"plan":[{{}}],"duration_seconds":1e308}}}}',
        f'{{"event":"nps_response",{JANE},"properties":{{"score":"\\u0664"}}}}',
        f'{{"event":"poison",{JANE},"properties":{{"plan":"\\ud83d\\ude00\\uffff\\ufdd0","feature":"{"😀" * 5000}"}}}}',
        f'{{"event":"\\ufeff\\u202e{"😀" * 198}","customer_email":"{"é" * 200}@{"ü" * 30}.example"}}',
        f'{{"event":"poison",{JANE},"timestamp":"2025-12-01T10:00:00.0000001+23:59:59.999999"}}',
    ],
    ids=lambda body: body[:60],
)
def test_what_is_taken_is_stored_and_its_neighbours_too(service: Door, poison: str) -> None:
    """Requests that share an entry of the buffer share no fate: 200 means stored, for each; none is a dead letter."""
    service.settle()
    stored, dead = service.count("events"), service.count("dead_letters")
    wires = [service.wire() for _ in range(10)]
    for n, wire in enumerate(wires):
        body = poison.encode() if n == 5 else json.dumps(event(properties={"n": n})).encode()
        wire.send(service.request(body))
    answers = [wire.answer() for wire in wires]
    for wire in wires:
        wire.close()
    assert [answer.body for answer in answers] == [OK] * 10
    service.settle()
    assert (service.count("events"), service.count("dead_letters")) == (stored + 10, dead)


def test_no_event_costs_the_worker_seconds(service: Door, client: httpx2.Client) -> None:
    """One event of 32 KiB must not hold up the lane: a batch of 100 such would hold it for minutes."""
    service.settle()
    long = event(customer_email="long@example.com", properties={"a": "@", "b": "x" * 32_000})
    assert client.post(TRACK, json=long).content == OK
    try:
        wait_until(service.is_empty, timeout=1.5)
    finally:
        service.settle()


def test_padding_an_address_costs_no_memory(service: Door, client: httpx2.Client) -> None:
    """Addresses are remembered by both sides, but not what surrounds them."""
    before = service.web.memory_info().rss
    for n in range(40):
        body = b'{"event":"login","customer_email":"' + b" " * 3_000_000 + b'pad%d@example.com"}' % n
        assert client.post(TRACK, content=body).content == OK
    assert service.web.memory_info().rss - before < 60 << 20
    assert len(service.timeline("pad39@example.com")) == 1


@pytest.mark.parametrize(
    "path",
    ["%00", "%ff", "%C0%80", "%ED%A0%80", "..%2f..%2fhealthz", "jane@example.com%2Fevents%00", "a" * 50_000, "%0a", "/",
     "jane@example.com%3Fx", "events", "risk", "events/events", "nobody@example.com/risk/events"],
    ids=lambda path: path[:30],
)  # fmt: skip
def test_a_path_that_names_no_customer_is_not_found(client: httpx2.Client, path: str) -> None:
    answer = client.get(f"/api/v1/customers/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "customer_not_found")


@pytest.mark.parametrize("email", ["a/b@example.com", "a%b@example.com", "a?b@example.com", "events/risk@example.com"])
def test_a_strange_address_can_be_read_when_it_is_escaped(service: Door, client: httpx2.Client, email: str) -> None:
    assert client.post(TRACK, json=event(customer_email=email)).content == OK
    assert len(service.timeline(email)) == 1


def test_a_customer_of_another_account_is_not_found(service: Door, client: httpx2.Client) -> None:
    """Whichever way it is asked for."""
    other = service.other_account()
    assert client.post(TRACK, json=event(customer_email="ours@example.com")).content == OK
    assert len(service.timeline("ours@example.com")) == 1
    client.headers["X-API-Key"] = other
    for path in ("", "/events", "/risk"):
        assert client.get(f"/api/v1/customers/ours@example.com{path}").status_code == 404
    assert client.get("/api/v1/customers", params={"email": "ours"}).json()["customers"] == []
    cursor = forged("email", "", NOBODY)
    assert client.get("/api/v1/customers", params={"sort": "email", "cursor": cursor}).json()["customers"] == []


LIST, TIMELINE = "/api/v1/customers", "/api/v1/customers/jane@example.com/events"


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (LIST, {"cursor": "x"}),
        (LIST, {"cursor": "\U0001f600"}),
        (LIST, {"cursor": base64.urlsafe_b64encode(b"[" * 3000).decode()}),
        (LIST, {"cursor": forged("email", "a", NOBODY)}),
        (LIST, {"cursor": forged("-risk", "a", NOBODY)}),
        (LIST, {"cursor": forged("-risk", 0.5, "not a uuid")}),
        (LIST, {"cursor": forged("-risk", 1e300, NOBODY)}),
        (LIST, {"sort": "email", "cursor": forged("email", "a\0", NOBODY)}),
        (TIMELINE, {"cursor": forged("2025-12-01T10:00:00Z", 10**30)}),
        (LIST, {"limit": "000000001" + "9" * 30}),
        (LIST, {"limit": "000000001" + "9" * 5000}),
        (LIST, {"limit": "0"}),
        (LIST, {"limit": "1001"}),
        (LIST, {"limit": "\u0663"}),
        (LIST, {"sort": "risk; DROP TABLE customers"}),
        (LIST, {"level": "\0"}),
        ("/api/v1/customers/jane@example.com/risk", {"from": "yesterday"}),
    ],
)
def test_a_forged_parameter_is_told(
    service: Door, client: httpx2.Client, path: str, parameters: dict[str, str]
) -> None:
    assert client.post(TRACK, json=event()).content == OK
    service.settle()
    answer = client.get(path, params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/track HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/track HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /api/v1/track HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_not_http_is_refused_and_hung_up_on(service: Door, data: bytes) -> None:
    """TLS on a plain port, HTTP/2, smuggling by two lengths: 400 or 401, and never two answers."""
    wire = service.wire().send(data)
    assert wire.answer().status in (400, 401)
    wire.close()
    assert service.is_up()


def test_what_is_not_http_is_told_in_our_shape(service: Door) -> None:
    """A path in raw UTF-8, as curl sends it, deserves a sentence that a program can read."""
    answer = service.once("GET /api/v1/customers/jäne@example.com HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["status"] == "error"


def test_a_closing_slash_is_no_redirect(client: httpx2.Client) -> None:
    """Neither fetch with a preflight nor curl follows it: the event is taken, or an error of the table is told."""
    answer = client.post(f"{TRACK}/", json=event())
    assert answer.status_code in (200, 404)


@pytest.mark.parametrize("line", [b"upgrade: h2c", b"http2-settings: AAE"])
def test_a_body_is_never_rewritten(service: Door, line: bytes) -> None:
    """A line in a body that looks like a header is a part of it: the next requests are read from where they begin."""
    body = b'{"event":"login",\r\n' + line + b'\r\n"customer_email":"jane@example.com"}'
    ping = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    wire = service.wire().send(service.request(body), ping, ping)
    try:
        assert [wire.answer().status for _ in range(3)] == [400, 200, 200]
    finally:
        wire.close()


def test_an_offer_of_another_protocol_is_declined_wherever_its_head_is_cut(service: Door) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA")
    body = json.dumps(event()).encode()
    whole = service.request(body, *offer)
    cut = whole.index(b"h2c") + 1
    wire = service.wire()
    try:
        for _ in range(2):
            wire.send(whole[:cut]).send(whole[cut:])
            assert wire.answer().body == OK
    finally:
        wire.close()
