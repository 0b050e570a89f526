"""A running service of a test's own, and raw connections to its web process."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import httpx2
import psutil
from redis import Redis

from api.up.embedded import servers
from tests import databases
from tests.acceptance.line import Line
from tests.waiting import wait_until
from workers.accounts import keys
from workers.buffer.lanes import HISTORY, LIVE
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import Connection, connect

TRACK = "/api/v1/track"
OK = b'{"status":"ok"}'


class Answer(NamedTuple):
    """An answer over a raw connection."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A raw connection to the web process: bytes out, answers in."""

    def __init__(self, port: int, timeout: float = 10) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._read = self._socket.makefile("rb")

    def send(self, *parts: bytes) -> "Wire":
        """Write bytes, each part by itself."""
        for part in parts:
            self._socket.sendall(part)
        return self

    def answer(self, *, has_body: bool = True) -> Answer:
        """The next answer. Raises EOFError where the server closed the connection instead."""
        status = self._read.readline()
        if not status:
            raise EOFError
        headers = dict(self._headers())
        length = int(headers.get("content-length", 0)) if has_body else 0
        return Answer(int(status.split()[1]), headers, self._read.read(length))

    def piece(self) -> bytes:
        """The bytes of one read."""
        return self._socket.recv(65536)

    def close(self) -> None:
        """Hang up."""
        self._read.close()
        self._socket.close()

    def _headers(self) -> Iterator[tuple[str, str]]:
        while (line_ := self._read.readline().strip()) != b"":
            name, _, value = line_.decode("latin-1").partition(":")
            yield name.lower(), value.strip()


class Door:
    """A service over a Redis and a database of its own, with two keys."""

    def __init__(self, running: Line, log: Path, connection: Connection, redis: Redis) -> None:
        self.line, self.log = running, log
        self.connection, self.redis = connection, redis
        self.key = keys.create(connection, redis, "acme").secret
        self.publishable = keys.create(connection, redis, "acme", publishable=True).secret

    def other_account(self) -> str:
        """A secret key of another account, which is empty."""
        return keys.create(self.connection, self.redis, f"other {uuid4()}").secret

    def client(self) -> httpx2.Client:
        """An HTTP client with the secret key."""
        return httpx2.Client(base_url=self.line.url, headers={"X-API-Key": self.key}, timeout=10, verify=False)

    def wire(self, timeout: float = 10) -> Wire:
        """A raw connection."""
        return Wire(self.line.port, timeout)

    def once(self, data: bytes) -> Answer:
        """The answer to bytes on a connection of their own."""
        wire = self.wire().send(data)
        try:
            return wire.answer()
        finally:
            wire.close()

    def head(self, *headers: str, method: str = "POST", path: str = TRACK, key: str | None = None) -> bytes:
        """The head of a request, with the key."""
        lines = [f"{method} {path} HTTP/1.1", "Host: windback", f"X-API-Key: {key or self.key}", *headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def request(self, body: bytes, *headers: str, key: str | None = None) -> bytes:
        """A whole request."""
        return self.head(f"Content-Length: {len(body)}", *headers, key=key) + body

    @property
    def web(self) -> psutil.Process:
        """The web process."""
        return psutil.Process(self.line.processes["web"].pid)

    def is_empty(self) -> bool:
        """True if everything that was accepted is stored."""
        return not self.redis.xlen(LIVE.stream) and not self.redis.xlen(HISTORY.stream)

    def is_up(self) -> bool:
        """True if another request is answered now."""
        return httpx2.get(f"{self.line.url}/healthz", timeout=5).status_code == 200

    def timeline(self, email: str) -> list[dict[str, Any]]:
        """The stored events of a customer, newest first, once everything is stored."""
        self.settle()
        with self.client() as client:
            answer = client.get(f"/api/v1/customers/{quote(email, safe='')}/events", params={"limit": 1000})
        events: list[dict[str, Any]] = answer.json().get("events", [])
        return events

    def settle(self) -> None:
        """Wait until everything that was accepted is stored."""
        wait_until(self.is_empty, timeout=30)

    def count(self, query: str, *parameters: object) -> int:
        """A number out of the database."""
        row = self.connection.execute(f"SELECT count(*) FROM {query}", parameters).fetchone()
        assert row
        return int(row[0])


class Hurried(Line):
    """A line whose web process is patient for half a second where others are for many."""

    def __init__(self, settings: Settings, log: Path) -> None:
        super().__init__(settings, log)
        hurry = (
            "api.track.body.BODY_SECONDS = 0.5; api.auth.REMEMBER_SECONDS = 0.2; "
            "api.server.protocol.BODY_SECONDS = 2.0; api.server.protocol.REST_SECONDS = 0.5; "
            "api.server.corked.UNREAD_SECONDS = 0.5"
        )
        modules = "api.app, api.auth, api.server.corked, api.server.protocol, api.track.body, api.web"
        code = f"import {modules}; {hurry}; api.web.web()"
        self._commands["web"] = f"{sys.executable} -c '{code}'"
        self.environment["WINDBACK_KEEP_ALIVE_SECONDS"] = "2"


@contextmanager
def door(database_url: str, folder: Path, *processes: str, kind: type[Line] = Line) -> Iterator[Door]:
    """A service over a migrated database; Redis and these processes of the Procfile are started, and leave nothing."""
    log = folder / "line.log"
    with servers(folder, database_url, durable=False) as addresses:
        settings = Settings(database_url=database_url, redis_url=addresses.redis_url, data_dir=folder)
        running = kind(settings, log)
        try:
            with connect(database_url) as connection, redis_client(addresses.redis_url) as redis:
                made = Door(running, log, connection, redis)
                running.start(*processes)
                yield made
        finally:
            running.close()


@contextmanager
def own_database(url: str, name: str) -> Iterator[str]:
    """A migrated database of one's own on the tests' server."""
    with databases.copy_template(url, name) as copy:
        yield copy
