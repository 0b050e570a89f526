"""A cell whose Redis is away: its events lodge with another cell, and are stored once when it is back."""

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from api.up import packaged_servers
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_identities import totals
from tests.cells.test_line import NOW, counted, history
from tests.cells.test_relocations import prune
from tests.waiting import wait_until
from tests.workers.events import count
from workers.buffer import ledger, lodging
from workers.buffer.entries import hash_customer
from workers.buffer.ledger import Ledger
from workers.cells import cell_of
from workers.ingest import lodgers


class Valkey:
    """A server of one's own, which may be killed and started again with what it had."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.url = f"unix://{folder}/socket"
        self._argv = [
            packaged_servers.valkey(folder).argv[0],
            *("--port", "0", "--unixsocket", f"{folder}/socket", "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        ]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        """Let it take connections and commands, and answer none."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again, also what it was asked meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except (OSError, Exception):
            return False


@pytest.fixture
def valkeys(tmp_path: Path) -> Iterator[list[Valkey]]:
    """Three servers."""
    servers = [Valkey(tmp_path / f"valkey{number}") for number in range(3)]
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture
def world(make_world: MakeWorld, valkeys: list[Valkey]) -> World:
    """Three cells, each with a Redis of its own."""
    return make_world(3, cell_buffer_urls=" ".join(server.url for server in valkeys))


def read_ledger(world: World) -> Ledger:
    """The ledger over all cells whose Redis answers, and both lanes."""
    ledgers: list[Ledger] = []
    for place in world.places:
        pipeline = place.redis.pipeline(transaction=False)
        for lane in place.lanes.values():
            ledger.queue_read(pipeline, lane)
        with suppress(RedisError):
            ledgers += map(ledger.parse, pipeline.execute())
    return ledger.merge(ledgers)


def lodging_events(world: World) -> int:
    """The number of events that lodge anywhere."""
    return read_ledger(world).lodging


def move_all(world: World) -> None:
    """Do what the clocks of all cells do for lodgers."""
    for place in world.places:
        with suppress(RedisError):
            lodgers.move_on(place)


def plain_events(customers: int = 60) -> list[dict[str, Any]]:
    """Events without an identity of their own."""
    return [{"event": "opened", "customer_email": f"c{number}@example.com"} for number in range(customers)]


def test_every_batch_is_taken_while_a_redis_is_away(world: World, valkeys: list[Valkey]) -> None:
    events = history()
    valkeys[1].kill()
    world.track(*events)
    plain = plain_events()
    world.track(*plain)
    valkeys[1].start()
    assert lodging_events(world) > 0
    move_all(world)
    assert lodging_events(world) == 0
    world.work()
    assert sum(counted(world)) == len(events) + len(plain)


def test_lodgers_wait_while_their_own_redis_is_away(world: World, valkeys: list[Valkey]) -> None:
    valkeys[1].kill()
    world.track(*history())
    before = lodging_events(world)
    move_all(world)
    assert lodging_events(world) == before > 0
    valkeys[1].start()


def test_the_ledger_adds_up_at_every_moment(world: World, valkeys: list[Valkey]) -> None:
    events = [*history(), *plain_events()]
    valkeys[1].kill()
    world.track(*events)
    lodged = read_ledger(world)
    assert (lodged.accepted, lodged.buffered, lodged.unaccounted) == (len(events), len(events), 0)
    valkeys[1].start()
    for work in (move_all, World.work):
        work(world)
        after = read_ledger(world)
        assert (after.accepted, after.unaccounted, after.lodging) == (len(events), 0, 0)
    assert (after.stored, after.buffered) == (len(events), 0)


def test_an_erased_customer_stays_erased_while_events_lodge(world: World, valkeys: list[Valkey]) -> None:
    """The erasure notes where the customer's lane ends, and the lodgers come there after it."""
    valkeys[1].kill()
    world.track(*history(), *plain_events())
    valkeys[1].start()
    for number in range(60):
        assert world.client.delete(f"/api/v1/customers/c{number}@example.com").status_code == 202
    move_all(world)
    world.work()
    assert counted(world) == [0, 0, 0]
    after = read_ledger(world)
    assert (after.unaccounted, after.stored, after.erased) == (0, 0, after.accepted)
    world.track(*plain_events())  # a new history
    world.work()
    assert sum(counted(world)) == 60


def test_lodgers_that_were_stored_and_pruned_before_are_not_stored_again(world: World, valkeys: list[Valkey]) -> None:
    """An import is run again while a Redis is away; retention goes on before, meanwhile and after."""
    events = [
        {"event": "login", "customer_email": f"c{number}@example.com", "timestamp": (NOW - timedelta(days)).isoformat()}
        for number in range(60)
        for days in (2, 40, 70)
    ]
    world.track(*events)
    world.work()
    prune(world)
    assert sum(counted(world)) == 60
    valkeys[1].kill()
    again = [*events, *({**event, "event": "opened"} for event in events)]
    world.track(*again)
    assert lodging_events(world) > 0
    prune(world)
    valkeys[1].start()
    for _ in range(2):
        move_all(world)
        world.work()
        prune(world)
    assert sum(counted(world)) == 2 * 60
    assert totals(world) == Counter(
        (event["event"], datetime.fromisoformat(event["timestamp"]).date()) for event in again
    )
    ledger = read_ledger(world)
    assert (ledger.stored, ledger.duplicate, ledger.unaccounted, ledger.lodging) == (2 * 180, 180, 0, 0)


def test_lodgers_outlast_their_host(world: World, valkeys: list[Valkey]) -> None:
    valkeys[1].kill()
    world.track(*plain_events())
    hosts = [server for server in valkeys if server is not valkeys[1]]
    for server in hosts:
        server.kill()
    valkeys[1].start()
    move_all(world)
    for server in hosts:
        server.start()
    move_all(world)
    world.work()
    assert sum(counted(world)) == 60
    assert read_ledger(world).unaccounted == 0


def test_the_same_event_id_lodges_and_is_buffered(world: World, valkeys: list[Valkey]) -> None:
    events = [{**event, "event_id": f"e{number}"} for number, event in enumerate(plain_events())]
    world.track(*events)
    valkeys[1].kill()
    world.track(*events)
    valkeys[1].start()
    move_all(world)
    world.work()
    after = read_ledger(world)
    assert (sum(counted(world)), after.stored, after.duplicate, after.unaccounted) == (60, 60, 60, 0)


def test_a_lodger_that_cannot_be_read_is_buried(world: World, valkeys: list[Valkey]) -> None:
    here, there = world.places[0], world.places[1]
    for lane in there.lanes:
        keys = lodging.keys_of(here.cell, there.cell.name, lane)
        here.redis.eval(lodging.LODGE, len(keys), *keys, -1, -1, 2, b"\xc1nonsense")
    move_all(world)
    world.work()
    after = read_ledger(world)
    assert (sum(after.dead.values()), after.unaccounted, after.lodging) == (4, 0, 0)
    assert count(there.connection(), "dead_letters") == 2


@pytest.mark.parametrize("caps", [{"buffer_events": 60}, {"buffer_bytes": 4_500}])
def test_lodgers_have_a_cap(make_world: MakeWorld, valkeys: list[Valkey], caps: dict[str, int]) -> None:
    """Each host takes as much as its own share, then the next one; then events are refused, and none is lost."""
    world = make_world(3, cell_buffer_urls=" ".join(server.url for server in valkeys), **caps)
    valkeys[1].kill()
    whom = [f"c{number}@example.com" for number in range(180)]
    theirs = [email for email in whom if cell_of(hash_customer(1, email), 3) == 1]
    answers = [
        world.client.post("/api/v1/track", json={"event": "opened", "customer_email": email}).status_code
        for email in theirs
    ]
    assert answers.count(200) + answers.count(503) == len(theirs)
    assert answers.count(200) == lodging_events(world) > 0
    assert answers.count(503) > 0
    valkeys[1].start()
    move_all(world)
    world.work()
    assert sum(counted(world)) == answers.count(200)


def test_what_is_moved_twice_is_stored_once(world: World, valkeys: list[Valkey]) -> None:
    """A clock that ends between the write and the removal moves an entry again, with the batch id that it had."""
    valkeys[1].kill()
    plain = plain_events()
    world.track(*plain)
    valkeys[1].start()
    for place in world.places:
        keys = [key for key in place.redis.keys("*") if b":lodgers:" in key]
        copies = {key: dumped for key in keys if (dumped := place.redis.dump(key))}
        lodgers.move_on(place)
        for key, copied in copies.items():
            place.redis.restore(key, 0, copied, replace=True)
        lodgers.move_on(place)
    world.work()
    assert sum(counted(world)) == len(plain)


def test_nothing_is_taken_while_all_are_away(world: World, valkeys: list[Valkey]) -> None:
    for server in valkeys:
        server.kill()
    sent = {"event": "login", "customer_email": "jane@example.com", "timestamp": NOW.isoformat()}
    answer = world.client.post("/api/v1/track", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (503, "buffer_unavailable")
    for server in valkeys:
        server.start()
