"""Connections of clients that send slowly, read slowly, or do neither: each ends in time, and costs nobody anything."""

import socket
import threading
from collections.abc import Callable

import pytest

from tests.acceptance.door import OK, Door, Wire
from tests.waiting import wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: windback\r\n"
NOWHERE = b"POST /nowhere HTTP/1.1\r\nHost: windback\r\n"
LONG = b"Content-Length: 1000000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def closes(send: Callable[[], object], wire: Wire) -> bool:
    """True if the server hangs up on a client that goes on sending."""
    try:
        send()
        return wire.piece() == b""
    except (ConnectionError, EOFError):
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (HEALTH + LONG, b"x"),
        (HEALTH + CHUNKED, b"1\r\nx\r\n"),
        (NOWHERE + LONG, b"x"),
        (NOWHERE + CHUNKED, b"1\r\nx\r\n"),
        (b"POST /api/v1/track HTTP/1.1\r\nHost: windback\r\n" + LONG, b"x"),
        (b"POST /sign-in HTTP/1.1\r\nHost: windback\r\n" + LONG, b"x"),
        (b"OPTIONS /api/v1/track HTTP/1.1\r\nHost: windback\r\n" + LONG, b"x"),
    ],
    ids=lambda head: head[:40].decode(),
)
def test_the_rest_of_a_body_that_drips_ends_with_its_connection(hurried: Door, head: bytes, drip: bytes) -> None:
    """Answered or not: a byte now and then does not renew the time."""
    wire = hurried.wire(timeout=0.05).send(head)
    wait_until(lambda: closes(lambda: wire.send(drip), wire), timeout=60, interval=0.05)
    wire.close()


def test_after_the_rest_of_a_body_the_connection_goes_on_and_ends_when_it_is_idle(hurried: Door) -> None:
    wire = hurried.wire().send(HEALTH + b"Content-Length: 4\r\n\r\n", b"ab")
    assert wire.answer().status == 200
    wire.send(b"cd", HEALTH + b"\r\n")
    assert wire.answer().status == 200
    wire.send(HEALTH + b"Content-Length: 4\r\n\r\nab")
    assert wire.answer().status == 200
    wire.send(b"cd")
    with pytest.raises(EOFError):
        wait_until(wire.answer, timeout=120)
    wire.close()


def deaf(service: Door) -> socket.socket:
    """A client that asks for a lot and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", service.line.port))
    client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: windback\r\n\r\n" * 200)
    return client


def test_clients_that_do_not_read_are_hung_up_on(hurried: Door) -> None:
    """Without a trace in the log."""
    logged = len(hurried.log.read_text())
    clients = [deaf(hurried) for _ in range(30)]
    peers = {client.getsockname()[1] for client in clients}

    def held() -> set[int]:
        return {held.raddr.port for held in hurried.web.net_connections() if held.raddr} & peers

    wait_until(lambda: not held(), timeout=60)
    for client in clients:
        client.close()
    assert hurried.once(hurried.request(b'{"event":"login","customer_email":"a@b.cd"}')).body == OK
    assert "Traceback" not in hurried.log.read_text()[logged:]


def test_a_client_that_reads_slowly_is_served(hurried: Door) -> None:
    """As long as it goes on reading."""
    client = deaf(hurried)
    received, pause = 0, threading.Event()
    for _ in range(20):
        received += len(client.recv(20_000))
        pause.wait(0.1)
    while part := client.recv(1 << 20):
        received += len(part)
        if received > 2_000_000:
            break
    client.close()
    assert received > 2_000_000


def test_keys_that_nobody_knows_leave_the_door_open(hurried: Door) -> None:
    """300 connections with unknown keys: the service stays ready, known keys and new ones are looked up."""
    fresh = hurried.other_account()
    flood = [hurried.wire() for _ in range(300)]
    body = b'{"event":"login","customer_email":"a@b.cd"}'
    for number, wire in enumerate(flood):
        wire.send(hurried.request(body, key=f"sk_live_{number}"))
    ready = hurried.once(b"GET /readyz HTTP/1.1\r\nHost: windback\r\n\r\n")
    assert hurried.once(hurried.request(body, key=fresh)).body == OK
    assert (ready.status, {wire.answer().status for wire in flood}) == (200, {401})
    for wire in flood:
        wire.close()


def test_a_body_that_never_ends_costs_bounded_memory(hurried: Door) -> None:
    """Of 100 bodies of nearly 4 MiB several are refused, and a process keeps less of them than the limit."""
    before = hurried.web.memory_info().rss
    wires = [hurried.wire() for _ in range(100)]
    refused = 0
    for wire in wires:
        try:
            wire.send(hurried.head("Content-Length: 4194000", key=hurried.publishable), b" " * 2_000_000)
        except ConnectionError:
            refused += 1
    assert hurried.web.memory_info().rss - before < 300 << 20
    assert hurried.once(hurried.request(b'{"event":"login","customer_email":"a@b.cd"}')).body == OK
    for wire in wires:
        wire.close()
