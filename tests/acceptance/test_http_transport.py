"""Bodies and connections as networks bring them: packed, in pieces, slowly, several at once, not at all."""

import gzip
import json
import threading
import time
import zlib

import httpx2
import pytest

from tests.acceptance.door import OK, TRACK, Answer, Door, Wire
from tests.waiting import SOON, wait_until
from tests.workers.events import event

MIB = 1024 * 1024
BODY = json.dumps(event()).encode()
GZIP = {"Content-Encoding": "gzip"}


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def bomb(size: int) -> bytes:
    """About a thousandth of its size as gzip: the same deflated piece again and again."""
    squeeze = zlib.compressobj(9, wbits=31)
    first = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    again = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // MIB - 1)


def test_gzip_is_read_whole_and_in_chunks(client: httpx2.Client) -> None:
    packed = gzip.compress(BODY)
    assert client.post(TRACK, content=packed, headers=GZIP).content == OK
    assert client.post(TRACK, content=iter([bytes([one]) for one in packed]), headers=GZIP).content == OK


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(gzip.compress(BODY)[:-1], id="torn"),
        pytest.param(gzip.compress(BODY)[:12], id="torn early"),
        pytest.param(gzip.compress(BODY) + b"x", id="followed"),
        pytest.param(b"", id="empty"),
    ],
)
def test_gzip_that_is_torn_or_followed_by_something_is_malformed(client: httpx2.Client, packed: bytes) -> None:
    answer = client.post(TRACK, content=packed, headers=GZIP)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_gzip")


def test_gzip_may_have_several_members(client: httpx2.Client) -> None:
    packed = gzip.compress(BODY[:10]) + gzip.compress(BODY[10:])
    assert client.post(TRACK, content=packed, headers=GZIP).content == OK


def test_what_follows_the_end_of_gzip_is_refused_while_it_comes(service: Door) -> None:
    """Otherwise it grows in memory for as long as a body may take."""
    wire = service.wire(timeout=1)
    wire.send(service.head("Transfer-Encoding: chunked", "Content-Encoding: gzip"), chunk(gzip.compress(BODY)))
    wire.send(chunk(b"x" * MIB))
    try:
        assert code(wire.answer()) == (400, "malformed_gzip")
    finally:
        wire.close()


def test_a_bomb_costs_no_memory(service: Door, client: httpx2.Client) -> None:
    """1 MiB that would be 1 GiB: refused, and the web process grows by less than 10 MiB."""
    packed = bomb(1024 * MIB)
    assert len(packed) < 1.2 * MIB
    assert client.post(TRACK, content=gzip.compress(BODY), headers=GZIP).content == OK
    before = service.web.memory_info().rss
    for content in (packed, iter([packed[:1000], packed[1000:]])):
        answer = client.post(TRACK, content=content, headers=GZIP)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert service.web.memory_info().rss - before < 10 * MIB


@pytest.mark.parametrize(
    "flood", [b"X-Y: " + b"y" * 64 * 1024, b"X-Y: y\r\n" * 8192], ids=["one that does not end", "ever more"]
)
def test_headers_cost_no_memory(service: Door, flood: bytes) -> None:
    """Nobody needs a key to send headers, so there is an end to them."""
    wire = service.wire(timeout=1)
    wire.send(service.head().removesuffix(b"\r\n"))
    try:
        with pytest.raises(ConnectionError):
            wire.send(*[flood] * 64)
    finally:
        wire.close()


def test_a_body_may_come_in_small_pieces(service: Door, wire: Wire) -> None:
    wire.send(service.head("Transfer-Encoding: chunked"), *(chunk(bytes([one])) for one in BODY), b"0\r\n\r\n")
    assert wire.answer().body == OK


def test_requests_may_follow_each_other_and_be_written_at_once(service: Door, wire: Wire) -> None:
    for _ in range(3):
        assert wire.send(service.request(BODY)).answer().body == OK
    wire.send(service.request(BODY) * 20)
    assert [wire.answer().body for _ in range(20)] == [OK] * 20


def test_an_error_does_not_spoil_what_follows_on_the_connection(service: Door, wire: Wire) -> None:
    """401, 413 and 415 are said before the body is read; the body is then passed over, and the next request stands."""
    large = b"x" * (4 * MIB + 1)
    wire.send(service.request(BODY, key="sk_live_unknown") + service.request(BODY))
    assert [wire.answer().status for _ in range(2)] == [401, 200]
    sender = threading.Thread(target=wire.send, args=[service.request(large) + service.request(BODY)])
    sender.start()
    assert [wire.answer().status for _ in range(2)] == [413, 200]
    sender.join()
    wire.send(service.request(BODY, "Content-Encoding: br") + service.request(b"{") + service.request(BODY))
    assert [wire.answer().status for _ in range(3)] == [415, 400, 200]
    wire.send(service.head("Content-Length: 10", method="PUT") + b"0123456789" + service.request(BODY))
    assert [wire.answer().status for _ in range(2)] == [405, 200]


def test_a_refusal_does_not_wait_for_the_body(service: Door, wire: Wire) -> None:
    wire.send(service.head("Content-Length: 1000000000"))
    assert code(wire.answer()) == (413, "payload_too_large")


def test_head_is_answered_without_a_body_and_the_connection_goes_on(service: Door, wire: Wire) -> None:
    answer = wire.send(service.head(method="HEAD")).answer(has_body=False)
    assert (answer.status, answer.headers["content-type"]) == (405, "application/json")
    assert wire.send(service.request(BODY)).answer().body == OK


def test_a_client_that_asks_first_is_told_to_go_on_or_why_not(service: Door, wire: Wire) -> None:
    asking = ("Expect: 100-continue", f"Content-Length: {len(BODY)}")
    assert wire.send(service.head(*asking)).answer().status == 100
    assert wire.send(BODY).answer().body == OK
    assert wire.send(service.head(*asking, key="sk_live_unknown")).answer().status == 401


def test_a_client_that_offers_http_2_is_understood(service: Door, wire: Wire) -> None:
    """Java's HttpClient offers it with every request unless told otherwise."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA")
    assert wire.send(service.request(BODY, *offer)).answer().body == OK
    assert wire.send(service.request(BODY)).answer().body == OK


def test_half_a_request_is_no_event_and_no_error(service: Door) -> None:
    """A client that goes away in the middle of a body, packed or not, leaves neither events nor noise."""
    service.settle()
    stored, logged = service.count("events"), len(service.log.read_text())
    for headers in (
        ["Content-Length: 1000"],
        ["Transfer-Encoding: chunked"],
        ["Content-Length: 1000", "Content-Encoding: gzip"],
    ):
        wire = service.wire().send(service.head(*headers))
        wire.send(chunk(BODY) if headers[0].startswith("Transfer") else BODY[:40])
        wire.close()
    assert service.once(service.request(BODY)).body == OK
    wait_until(lambda: service.count("events") == stored + 1)
    service.settle()
    assert service.count("events") == stored + 1
    news = service.log.read_text()[logged:]
    assert "ERROR" not in news
    assert "WARNING" not in news


def test_slow_bodies_are_given_up_and_hold_nobody_up(hurried: Door) -> None:
    """50 that don't arrive: others are served meanwhile, and each of them is told 408 in the end."""
    slow = [hurried.wire().send(hurried.head("Content-Length: 100"), BODY[:10]) for _ in range(50)]
    began = time.monotonic()
    assert hurried.once(hurried.request(BODY)).body == OK
    assert time.monotonic() - began < SOON
    assert {code(wire.answer()) for wire in slow} == {(408, "body_timeout")}
    for wire in slow:
        wire.close()


def test_a_body_that_drips_is_given_up_as_well(hurried: Door) -> None:
    """The limit is on the whole body: a byte now and then does not renew it."""
    wire = hurried.wire().send(hurried.head("Transfer-Encoding: chunked"))
    answers: list[Answer] = []
    reader = threading.Thread(target=lambda: answers.append(wire.answer()))
    reader.start()
    wait_until(lambda: answers or not wire.send(chunk(b" ")), interval=0.05)
    reader.join()
    assert code(answers[0]) == (408, "body_timeout")
    wire.close()


def test_an_answer_is_one_write(wire: Wire, service: Door) -> None:
    """Head and body come together: a client that wakes up for the head finds the body there."""
    wire.send(service.request(BODY))
    assert wire.piece().endswith(OK)
