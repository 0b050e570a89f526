"""Cells whose buffers are in a Valkey Cluster: each leads to the node that owns its slot, wherever that goes."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import RedisError

from tests.api.command_line import Run, windback
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_line import counted
from tests.cells.test_lodging import read_ledger
from tests.clusters import Node, Nodes, running_cluster, text
from tests.waiting import wait_until
from tests.workers.events import push_events
from workers.buffer import replicas
from workers.buffer.lanes import LIVE, lanes_of
from workers.ingest import ingest, lodgers
from workers.process import Process
from workers.settings import SettingsError, load

EVENTS = [
    {"event": "opened", "customer_email": f"c{number}@example.com", "event_id": f"first-{number}"}
    for number in range(60)
]
LATER = [{**event, "event_id": f"later-{number}"} for number, event in enumerate(EVENTS)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Three masters with a replica each."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def world(make_world: MakeWorld, nodes: Nodes) -> World:
    """Four cells, whose buffers are in an empty cluster."""
    return open_world(make_world, nodes)


def open_world(make_world: MakeWorld, nodes: Nodes, **settings: int) -> World:
    """Four cells with an empty cluster."""
    wait_until(nodes.is_whole, timeout=60)
    for node in nodes.all:
        if node.is_master():
            node.ask("FLUSHALL")
    return make_world(4, buffer_url=nodes.urls, **settings)


def send(world: World, events: list[dict[str, str]]) -> None:
    """Send events until they are taken, and have them in their own cells: on a busy machine, a node may need longer
    than a door waits for it."""
    wait_until(lambda: world.client.post("/api/v1/track", json={"events": events}).status_code == 200, timeout=60)
    for place in world.places:
        lodgers.move_on(place)


def stream_of(place: Process) -> str:
    return lanes_of(place.cell)[LIVE.name].stream


def copies_of(master: Node) -> int:
    """The number of replicas with all data of a master."""
    role = master.ask("ROLE")
    return sum(int(text(offset)) == int(text(role[1])) for _, _, offset in role[2])


def command_line(world: World) -> Run:
    """`windback` with the settings of a world."""
    settings = world.settings
    cells = {"WINDBACK_CELLS": str(settings.cells), "WINDBACK_BUFFER_URL": settings.buffer_url or ""}
    return windback({"DATABASE_URL": settings.database_url or "", "REDIS_URL": settings.redis_url or "", **cells})


def test_each_cell_is_where_its_slot_is(world: World, nodes: Nodes) -> None:
    send(world, EVENTS)
    for place in world.places:
        owner = nodes.owner_of(stream_of(place))
        with owner.client() as client:
            assert client.xlen(stream_of(place)) == place.redis.xlen(stream_of(place)) > 0
    assert len({nodes.owner_of(stream_of(place)).port for place in world.places}) > 1
    world.work()
    assert sum(counted(world)) == len(EVENTS)
    assert min(counted(world)) > 0


def test_a_replica_that_takes_over_is_followed(world: World, nodes: Nodes) -> None:
    send(world, EVENTS)
    key = stream_of(world.places[0])
    master = nodes.owner_of(key)
    wait_until(lambda: copies_of(master) == 1, timeout=60)
    master.kill()
    wait_until(lambda: nodes.owner_of(key) is not master, timeout=60)
    send(world, LATER)
    master.start()
    world.work()
    assert sum(counted(world)) == len(EVENTS) + len(LATER)


def test_what_only_a_dead_master_had_is_not_stored(
    make_world: MakeWorld, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was promised to nobody: if it were stored, the ledger of the successor would not know it."""
    monkeypatch.setattr(replicas, "WAIT_MILLISECONDS", 60_000)
    world = open_world(make_world, nodes, buffer_replicas=1)
    place = world.places[0]
    master = nodes.owner_of(stream_of(place))
    replica = nodes.replica_of(master)
    replica.kill()
    push_events(place.redis, EVENTS[0], lane=place.lanes[LIVE.name])
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(ingest.drain, place, LIVE)
        wait_until(lambda: draining.done() or master.is_waiting(), timeout=60)
        master.kill()
        replica.start()
        assert isinstance(draining.exception(timeout=60), RedisError)
    wait_until(lambda: nodes.owner_of(stream_of(place)) is replica, timeout=60)
    master.start()
    world.work()
    assert sum(counted(world)) == 0
    assert read_ledger(world).accepted == 0


def test_workers_go_on_without_replicas(make_world: MakeWorld, nodes: Nodes) -> None:
    """What is in the buffer of a master that has lost its replica is stored."""
    world = open_world(make_world, nodes, buffer_replicas=1)
    send(world, EVENTS)
    replica = nodes.replica_of(nodes.owner_of(stream_of(world.places[0])))
    replica.kill()
    world.work()
    replica.start()
    assert sum(counted(world)) == len(EVENTS)


def test_a_slot_that_moves_is_followed(world: World, nodes: Nodes) -> None:
    """An open connection learns it from the answer to its next command."""
    send(world, EVENTS)
    place = world.places[1]
    key = stream_of(place)
    before = nodes.owner_of(key)
    after = next(node for node in nodes.all if node.is_master() and node is not before)
    nodes.move_slot(key, after)
    assert nodes.owner_of(key) is after
    assert place.redis.xlen(key) > 0
    send(world, LATER)
    world.work()
    assert sum(counted(world)) == len(EVENTS) + len(LATER)


def test_the_commands_say_where_each_cell_is(world: World, nodes: Nodes) -> None:
    run = command_line(world)
    listed = run("cells status").stdout.splitlines()[1:]
    owners = [nodes.owner_of(stream_of(place)).port for place in world.places]
    assert [line.rpartition("; ")[2] for line in listed] == [f"127.0.0.1:{port} of the cluster" for port in owners]
    checks = json.loads(run("check --json").stdout)["checks"]
    details = {row["name"]: row["detail"] for row in checks}
    assert details["cell 002"].endswith(f", its buffer is at 127.0.0.1:{owners[2]} of the cluster")


def test_replicas_that_are_missing_are_reported(world: World) -> None:
    wait_until(lambda: "1 replicas, and WINDBACK_BUFFER_REPLICAS is 2" in _check(world, "cell 000"), timeout=60)


def _check(world: World, name: str) -> str:
    checks = json.loads(command_line(world)("check --json", WINDBACK_BUFFER_REPLICAS="2").stdout)["checks"]
    return next(str(row["detail"]) for row in checks if row["name"] == name)


def test_a_single_cell_has_no_use_for_a_cluster(nodes: Nodes) -> None:
    with pytest.raises(SettingsError, match="a cluster takes several cells"):
        load({"WINDBACK_BUFFER_URL": nodes.urls})
