"""The reader of a storm finds what is wrong with a list, and takes 503 for an answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from tests.acceptance.chaos import poller
from tests.acceptance.chaos.poller import Poller
from tests.waiting import wait_until

CALM = ["calm0@example.com", "calm1@example.com"]


class Service(BaseHTTPRequestHandler):
    """Answers for the customers of an account."""

    listed: ClassVar[list[str]] = CALM
    status: ClassVar[int] = 200
    asked: ClassVar[int] = 0

    def do_GET(self) -> None:
        Service.asked += 1
        status = Service.status
        self.send_response(status)
        self.end_headers()
        self.wfile.write(self._make_body(status).encode())

    def _make_body(self, status: int) -> str:
        if status != 200:
            return json.dumps({"message": "The database of cell 002 is not available"} if status == 503 else {})
        if self.path.startswith("/customers.csv"):
            return "\n".join(["email", *Service.listed])
        if self.path.startswith("/api/v1/customers/"):
            return json.dumps({"email": self.path.rpartition("/")[2].replace("%40", "@")})
        return json.dumps({"customers": [{"email": email} for email in Service.listed], "next_cursor": None})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(poller, "PAUSE_SECONDS", 0.0)
    Service.listed, Service.status, Service.asked = CALM, 200, 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def read_all(reader: Poller) -> None:
    """Wait until each list has been read."""
    before = Service.asked
    wait_until(lambda: Service.asked > before + 16)


FAULTS = {
    "are in a list twice": (200, [*CALM, CALM[0]]),
    "1 are missing in a list, such as calm1@example.com": (200, CALM[:1]),
    "are in another account's list": (200, [*CALM, "jane@example.com"]),
    "a list is out of order": (200, CALM[::-1]),
    "was answered with 500": (500, []),
}


@pytest.mark.parametrize(("finding", "answer"), FAULTS.items())
def test_it_finds(port: int, finding: str, answer: tuple[int, list[str]]) -> None:
    reader = Poller(port, "key")
    read_all(reader)
    Service.status, Service.listed = answer
    read_all(reader)
    assert finding in "\n".join(reader.finish())


def test_503_is_an_answer(port: int) -> None:
    reader = Poller(port, "key")
    read_all(reader)
    Service.status = 503
    read_all(reader)
    Service.status = 200
    read_all(reader)
    assert reader.finish() == []
    assert {"200", "503 (cell 002)"} <= reader.answers.keys()
