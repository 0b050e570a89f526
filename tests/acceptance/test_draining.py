"""A web process that is told to end, under load: nothing that it accepted is lost, and nobody's request is reset."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from tests.acceptance.line import Line, line
from tests.waiting import wait_until
from tests.workers.events import event
from workers.accounts import keys
from workers.buffer.lanes import LIVE
from workers.settings import Settings
from workers.store import Connection

GRACE_SECONDS = 1.5
CLIENTS = 4


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def running(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Line]:
    """A web process, or a group of them; nobody empties the buffer."""
    monkeypatch.setenv("WINDBACK_GRACE_SECONDS", str(GRACE_SECONDS))
    monkeypatch.setenv("WINDBACK_WEB_PROCESSES", str(request.param))
    with line(settings, tmp_path / "line.log") as made:
        made.start("web")
        yield made


class Poster(threading.Thread):
    """A client that posts in a loop over one connection until it can't connect any more."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__()
        self.accepted = 0
        self.trouble: list[object] = []
        self._is_fresh = True  # the next request opens a connection
        self._client = httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=10)

    def run(self) -> None:
        """Post. A connection that is refused is the end; anything else but `ok` is trouble."""
        with self._client, suppress(httpx2.ConnectError):
            while not self.trouble:
                self._post()

    def _post(self) -> None:
        try:
            response = self._client.post("/api/v1/track", json=event())
        except httpx2.ConnectError:
            raise
        except httpx2.TransportError as error:
            if self._is_fresh:  # it waited to be accepted when the listener closed: the kernel resets it
                raise httpx2.ConnectError("not accepted") from error
            self.trouble.append(repr(error))
            return
        self._is_fresh = response.headers.get("connection") == "close"
        if response.content != b'{"status":"ok"}':
            self.trouble.append(response)
        self.accepted += 1


@pytest.fixture
def posters(running: Line, connection: Connection, redis: Redis) -> Iterator[list[Poster]]:
    """Clients that post already."""
    key = keys.create(connection, redis, "acme").secret
    made = [Poster(running.url, key) for _ in range(CLIENTS)]
    for poster in made:
        poster.start()
    wait_until(lambda: all(poster.accepted > 20 for poster in made))
    yield made
    running.close()
    for poster in made:
        poster.join()


def readiness(running: Line) -> int:
    return httpx2.get(f"{running.url}/readyz").status_code


def test_a_web_process_that_is_told_to_end_loses_nothing_and_resets_nobody(
    running: Line, posters: list[Poster], redis: Redis
) -> None:
    assert readiness(running) == 200
    web = running.processes["web"]
    web.send_signal(signal.SIGTERM)
    signalled_at = time.monotonic()
    wait_until(lambda: readiness(running) == 503, timeout=1.0)
    before = sum(poster.accepted for poster in posters)
    wait_until(lambda: sum(poster.accepted for poster in posters) > before + 20)  # it goes on serving
    assert web.wait(timeout=20) in (0, -signal.SIGTERM)
    assert time.monotonic() - signalled_at >= GRACE_SECONDS
    for poster in posters:
        poster.join(timeout=10)
    assert [poster.trouble for poster in posters] == [[]] * CLIENTS
    accepted = sum(poster.accepted for poster in posters)
    assert redis.hget(LIVE.ledger, "accepted") == str(accepted).encode()
