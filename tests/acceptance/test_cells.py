"""Cells are divided and moved while events come in and everything runs, and while commands, workers and doors are
killed: before and after are the same, and nothing is lost or stored twice."""

import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.line import Line, line
from tests.cells.conftest import MakeWorld, World, set_up
from tests.cells.conftest import make_world as make_world
from tests.cells.test_lodging import read_ledger
from tests.nursery import ROOT
from tests.waiting import wait_until
from tests.workers.events import count
from workers import growth
from workers.buffer.entries import hash_customer
from workers.cells import cell_of
from workers.lease import lease_key
from workers.process import Process
from workers.settings import Settings, variable
from workers.store import connect

pytestmark = pytest.mark.timeout(600)  # other tests that start many processes run beside them

PROCESSES = ("web", "ingest", "ingest.2", "import", "score", "clock")
CUSTOMERS = 120
PACE_SECONDS = 0.05  # between two requests: much more is work for the processors, and shows nothing more


class Producer:
    """Sends events, each again until it is acknowledged, in a thread of its own."""

    def __init__(self, url: str, key: str) -> None:
        self.acknowledged: set[str] = set()
        self._url, self._key = url, key
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "Producer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        until = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= until, timeout=120)

    def _send(self) -> None:
        number = 0
        with httpx2.Client(headers={"X-API-Key": self._key}, timeout=10) as client:
            while not self._ending.wait(PACE_SECONDS):
                batch = [_make_event(n) for n in range(number, number + 1 + number % 20)]
                while not self._post(client, batch):
                    if self._ending.wait(0.05):
                        return
                self.acknowledged |= {event["event_id"] for event in batch}
                number += len(batch)

    def _post(self, client: httpx2.Client, batch: list[dict[str, Any]]) -> bool:
        with suppress(httpx2.TransportError):
            return client.post(f"{self._url}/api/v1/track", json={"events": batch}).content == b'{"status":"ok"}'
        return False


def _make_event(number: int) -> dict[str, Any]:
    customer = number * 7 % CUSTOMERS
    whose = {"user_id": f"u{customer}"} if customer < 20 else {"customer_email": f"c{customer}@example.com"}
    return {"event": ("login", "opened")[number % 2], "event_id": f"e{number}", "properties": {"n": number}, **whose}


@contextmanager
def running_line(world: World, log: Path) -> Iterator[Line]:
    with line(world.settings, log) as running:
        running.environment |= describe(world.settings)
        running.start(*PROCESSES)
        for customer in range(20):
            identity = {"user_id": f"u{customer}", "customer_email": f"c{customer}@example.com"}
            assert world.client.post("/api/v1/identify", json=identity).status_code == 200
        yield running


def describe(settings: Settings) -> dict[str, str]:
    """The environment of processes with these cells."""
    fields = ("cells", "cell_database_urls", "cell_buffer_urls")
    return {variable(field): str(value) for field in fields if (value := getattr(settings, field))}


def command(running: Line, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["windback", "cells", *arguments], env=running.environment, cwd=ROOT, stdout=subprocess.PIPE
    )


def finish(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    """The settings that the command prints."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    rows = (shlex.split(row) for row in output.decode().splitlines() if row.startswith("  "))
    return dict(setting.split("=", 1) for (setting,) in rows)


def has_schema(settings: Settings, name: str) -> bool:
    with connect(settings.home) as connection:
        return connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [name]).fetchone() is not None


def is_settled(world: World) -> bool:
    """Nothing waits: in no buffer, for no address, and for no other cell."""
    before = read_ledger(world)
    forwarded = sum(count(place.connection(), "forwards") for place in world.places)
    return before.buffered == before.unresolved == forwarded == 0 and read_ledger(world).buffered == 0


def audit(world: World, sent: set[str]) -> None:
    """All that was acknowledged is stored, once, where it belongs; counts and answers say the same."""
    wait_until(lambda: is_settled(world), timeout=120)
    numbers = []
    for place in world.places:
        connection = place.connection()
        numbers += [n for (n,) in connection.execute("SELECT properties ->> 'n' FROM events").fetchall()]
        owners = connection.execute("SELECT DISTINCT customer_id::text FROM events").fetchall()
        assert {cell_of(customer_id, world.settings.cells) for (customer_id,) in owners} == {place.cell.number}
    assert len(numbers) == len(set(numbers))
    assert {f"e{n}" for n in numbers} >= sent
    after = read_ledger(world)
    assert (after.unaccounted, after.dead, after.lodging) == (0, {}, 0)
    assert after.stored == len(numbers)


def answers(client: httpx2.Client) -> tuple[list[str], int] | None:
    """The customers, and how many events there are; None while the process looks where the cells are."""
    listed = client.get("/api/v1/customers", params={"limit": 1000, "sort": "email"})
    counted = client.get("/api/v1/analytics/events")
    if (listed.status_code, counted.status_code) != (200, 200):
        return None
    customers = [customer["email"] for customer in listed.json()["customers"]]
    return customers, sum(row["count"] for row in counted.json()["events"])


def test_cells_are_divided_under_load(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world(2)
    key = world.client.headers["X-API-Key"]
    with running_line(world, tmp_path / "line.log") as running, Producer(running.url, key) as producer:
        producer.wait_for(300)
        killed = command(running, "split")
        wait_until(lambda: has_schema(world.settings, "staged_cell_001") or killed.poll() is not None, timeout=60)
        killed.kill()
        killed.communicate()
        for name in ("ingest", "web", "clock"):
            running.kill(name)
        dividing = command(running, "split")
        for name in ("ingest", "web", "clock"):
            running.launch(name)
        printed = finish(dividing)
        assert printed["WINDBACK_CELLS"] == "4"
        producer.wait_for(300)
        running.kill("ingest.2")
        running.launch("ingest.2")
        producer.wait_for(300)
    with line(world.settings, tmp_path / "line.log") as running:  # as before: they take the number over
        running.environment |= describe(world.settings)
        running.start(*PROCESSES)
        world.process.disconnect_all()
        assert world.process.follow()
        four = world._replace(settings=world.process.settings)
        audit(four, producer.acknowledged)
        with httpx2.Client(base_url=running.url, headers={"X-API-Key": key}, timeout=30) as client:
            everybody = sorted(f"c{customer}@example.com" for customer in range(CUSTOMERS))
            stored = read_ledger(four).stored
            wait_until(lambda: answers(client) == (everybody, stored), timeout=120)


def test_a_cell_is_moved_under_load(make_world: MakeWorld, tmp_path: Path) -> None:
    world, other = make_world(2), make_world(1)
    url, key = other.settings.database_url or "", world.client.headers["X-API-Key"]
    with running_line(world, tmp_path / "line.log") as running, Producer(running.url, key) as producer:
        producer.wait_for(300)
        killed = command(running, "move", "1", "--to", url)
        wait_until(lambda: has_schema(other.settings, "cell_001") or killed.poll() is not None, timeout=60)
        killed.kill()
        killed.communicate()
        producer.wait_for(100)
        running.environment |= finish(command(running, "move", "1", "--to", url))
        producer.wait_for(300)  # the cell's events wait, the other's are stored
        for name in PROCESSES:
            running.terminate(name)
            running.launch(name)
        producer.wait_for(300)
        world.process.disconnect_all()
        moved = world.settings.changed(cell_database_urls=running.environment["WINDBACK_CELL_DATABASE_URLS"])
        world.process.settings = moved
        world.process._work_at(None)
        sent = set(producer.acknowledged)
        audit_later = world._replace(settings=moved)
    with line(moved, tmp_path / "line.log") as running:
        running.environment |= describe(moved)
        running.start(*PROCESSES)
        audit(audit_later, sent)
    world.process.disconnect_all()


def test_a_cell_that_is_stuck_holds_up_no_other(make_world: MakeWorld, tmp_path: Path) -> None:
    """One worker of each kind and two cells, of which one has lost its Postgres."""
    world, other = make_world(2), make_world(1)
    moved = growth.move(world.settings, 1, other.settings.database_url or "")
    world.process.disconnect_all()
    world = world._replace(settings=moved, process=Process(moved, world.redis))
    set_up(world.process)
    events = [{"event": "login", "customer_email": f"c{n}@example.com", "event_id": f"e{n}"} for n in range(200)]
    free = {event["customer_email"] for event in events if place_of(event["customer_email"]) == 0}
    with line(moved, tmp_path / "line.log") as running:
        running.environment |= describe(moved)
        running.start("web", "ingest", "score", "clock")
        world.process.disconnect_all()
        with closed(other):
            post(running, world, events)
            wait_until(lambda: count(world.places[0].connection(), "customers WHERE level IS NOT NULL") == len(free))
        wait_until(lambda: sum(count(place.connection(), "events") for place in world.places) == 200, timeout=120)
        assert read_ledger(world).unaccounted == 0
    world.process.disconnect_all()


def test_others_take_over_from_workers_and_clocks_that_die(make_world: MakeWorld, tmp_path: Path) -> None:
    """More workers and clocks than cells, then fewer: all but one are killed."""
    world = make_world(3)
    several = ("ingest", "ingest.2", "ingest.3", "ingest.4", "clock", "clock.2", "clock.3", "clock.4")
    with line(world.settings, tmp_path / "line.log") as running:
        running.environment |= describe(world.settings)
        running.start("web", "score", *several)
        for name in several:
            post(running, world, [{"event": "opened", "customer_email": f"c{n}@{name}.example.com"} for n in range(60)])
            if name not in ("ingest", "clock"):
                running.kill(name)
        wait_until(lambda: sum(count(place.connection(), "events") for place in world.places) == 480, timeout=120)
        wait_until(lambda: all(place.redis.exists(lease_key(place.cell.prefix)) for place in world.places))
        wait_until(lambda: read_ledger(world).buffered == 0)
        assert read_ledger(world).unaccounted == 0


def place_of(email: str) -> int:
    """The cell of an address, of two."""
    return cell_of(hash_customer(1, email), 2)


def post(running: Line, world: World, events: list[dict[str, Any]]) -> None:
    headers = {"X-API-Key": world.client.headers["X-API-Key"]}
    for start in range(0, len(events), 50):
        sent = {"events": events[start : start + 50]}
        answer = httpx2.post(f"{running.url}/api/v1/track", json=sent, headers=headers, timeout=30)
        assert answer.json() == {"status": "ok"}


@contextmanager
def closed(world: World) -> Iterator[None]:
    """Nobody is let into the world's database."""
    name = conninfo_to_dict(world.settings.database_url or "")["dbname"]
    with connect((world.settings.database_url or "").replace(f"/{name}", "/postgres")) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
