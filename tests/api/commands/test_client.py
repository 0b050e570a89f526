import socket
import threading
from collections.abc import Iterator

import pytest

from api.commands.client import Client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def forgetful() -> Iterator[str]:
    """A service that closes each connection after its first answer, without saying so before."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _address = server.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_connection_that_was_closed_while_idle_is_opened_again_in_silence(
    forgetful: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(forgetful, "sk_live_x")
    assert [(reply.status, reply.body) for reply in (client.ask("GET", "/"), client.ask("GET", "/"))] == [(200, {})] * 2
    client.close()
    assert capsys.readouterr().err == ""
