"""Redis moves to another node: connections that are open stay with the old one, new ones lead to the new one."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import msgspec
import pytest
from redis import Redis

from api.up import embedded, packaged_servers
from tests.acceptance.line import line
from tests.waiting import wait_until
from tests.workers.events import count, event
from workers.accounts import keys
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import Connection


class Address:
    """A TCP address whose connections lead to a Unix socket; where new ones lead may change."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=_join, args=(client, self.target), daemon=True).start()


def _join(client: socket.socket, target: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as server:
        server.connect(target)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def node(folder: Path) -> Iterator[str]:
    """A Redis of its own. Yields its socket's URL."""
    server = packaged_servers.valkey(folder)
    with packaged_servers.launching(server) as how:
        process = subprocess.Popen(server.argv, **how)
    try:
        wait_until(lambda: not embedded.trouble(server.url), timeout=30)
        yield server.url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        yield (stack.enter_context(node(tmp_path / "a")), stack.enter_context(node(tmp_path / "b")))


def test_all_processes_follow_to_the_new_master(
    nodes: tuple[str, str], settings: Settings, connection: Connection, tmp_path: Path
) -> None:
    """Track answers 503 for seconds, then ok, and what is answered ok is stored and scored, without any restart."""
    old, new = nodes
    address = Address(old.removeprefix("unix://"))
    with redis_client(old) as redis:
        key = keys.create(connection, redis, "acme").secret
    moved = msgspec.structs.replace(settings, redis_url=address.url)
    with line(moved, tmp_path / "line.log") as running, httpx2.Client(base_url=running.url, timeout=10) as client:
        running.start()
        wait_until(lambda: client.get("/readyz").json()["detail"]["clock"] == "ok", timeout=60)
        post(client, key, "before@example.com")
        wait_until(lambda: count(connection, "risk_history") == 1, timeout=60)
        address.target = new.removeprefix("unix://")
        with redis_client(old) as redis:
            redis.replicaof("127.0.0.1", 1)
        wait_until(lambda: track(client, key, "after@example.com") == 200, timeout=60)
        wait_until(lambda: count(connection, "risk_history") == 2, timeout=60)
        wait_until(lambda: whole(client), timeout=60)
    address.close()


def track(client: httpx2.Client, key: str, email: str) -> int:
    sent = event(customer_email=email, event_id="the-same")
    return client.post("/api/v1/track", json=sent, headers={"X-API-Key": key}).status_code


def post(client: httpx2.Client, key: str, email: str) -> None:
    assert track(client, key, email) == 200


def whole(client: httpx2.Client) -> bool:
    """Every kind of process is there again, by its own word."""
    detail = client.get("/readyz").json()["detail"]
    return all(detail[part] == "ok" for part in ("redis", "postgres", "buffer", "clock", "workers"))


def test_a_redis_of_another_installation_is_refused(
    settings: Settings, connection: Connection, redis: Redis, tmp_path: Path
) -> None:
    """The web process isn't ready, and says why; workers and clock leave it alone."""
    keys.create(connection, redis, "acme")
    connection.execute("UPDATE installation SET installation_id = gen_random_uuid()")
    with line(settings, tmp_path / "line.log") as running, httpx2.Client(base_url=running.url, timeout=10) as client:
        running.start("web", "ingest", "clock")
        wait_until(lambda: client.get("/readyz").status_code == 503, timeout=30)
        assert "WINDBACK_REDIS_PREFIX" in client.get("/readyz").json()["message"]
        wait_until(lambda: "another Windback" in (tmp_path / "line.log").read_text(), timeout=30)
        assert not redis.exists("windback:clock")
