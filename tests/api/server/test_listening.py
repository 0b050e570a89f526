import socket

import pytest

from api.server.listening import close, listen
from tests.ports import free_port


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("::", {"127.0.0.1", "::1"}),
        ("*", {"127.0.0.1", "::1"}),
        ("0.0.0.0", {"127.0.0.1"}),
        ("127.0.0.1", {"127.0.0.1"}),
        ("::1", {"::1"}),
    ],
)
def test_an_address_is_listened_on_in_the_families_it_stands_for(host: str, reached: set[str]) -> None:
    port = free_port()
    sockets = listen(host, port)
    for bound in sockets:
        bound.listen()
    try:
        assert {address for address in ("127.0.0.1", "::1") if answers(address, port)} == reached
    finally:
        close(sockets)


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])
