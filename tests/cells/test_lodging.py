"""A cell whose Redis is away: its events lodge with another cell, and are stored once when it is back."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from api.up import packaged_servers
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_line import NOW, counted, history
from tests.waiting import wait_until
from workers.buffer import lodging
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


def lodging_events(world: World) -> int:
    """How many events lodge anywhere."""
    return sum(int(place.redis.get(lodging.count_key(place.cell)) or 0) for place in world.places)


def test_every_batch_is_taken_while_a_redis_is_away(world: World, valkeys: list[Valkey]) -> None:
    events = history()
    valkeys[1].kill()
    world.track(*events)
    plain = [{"event": "opened", "customer_email": f"c{number}@example.com"} for number in range(60)]
    world.track(*plain)
    valkeys[1].start()
    assert lodging_events(world) > 0
    for place in world.places:
        lodgers.move_on(place)
    assert lodging_events(world) == 0
    world.work()
    assert sum(counted(world)) == len(events) + len(plain)


def test_lodgers_wait_while_their_own_redis_is_away(world: World, valkeys: list[Valkey]) -> None:
    valkeys[1].kill()
    world.track(*history())
    others = [place for number, place in enumerate(world.places) if number != 1]
    before = sum(int(place.redis.get(lodging.count_key(place.cell)) or 0) for place in others)
    for place in others:
        lodgers.move_on(place)
    assert sum(int(place.redis.get(lodging.count_key(place.cell)) or 0) for place in others) == before > 0
    valkeys[1].start()


def test_what_is_moved_twice_is_stored_once(world: World, valkeys: list[Valkey]) -> None:
    """A clock that ends between the write and the removal moves an entry again, with the batch id that it had."""
    valkeys[1].kill()
    plain = [{"event": "opened", "customer_email": f"c{number}@example.com"} for number in range(60)]
    world.track(*plain)
    valkeys[1].start()
    for place in world.places:
        keys = [key for key in place.redis.keys("*") if b":lodgers:" in key]
        copies = {key: dumped for key in keys if (dumped := place.redis.dump(key))}
        lodgers.move_on(place)
        for key, copied in copies.items():
            place.redis.restore(key, 0, copied)
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
