"""With replicas asked for, a write counts once they have it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Node, running_pair
from workers.buffer.connection import ScriptConnection
from workers.buffer.lanes import LIVE
from workers.buffer.push import push_entry
from workers.buffer.replicas import NotReplicated
from workers.redis import redis_client

WRITE = "return redis.call('SET', KEYS[1], ARGV[1])"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A master and its replica."""
    with running_pair(tmp_path) as pair:
        yield pair


def write(connection: ScriptConnection) -> object:
    return asyncio.run(_write(connection))


async def _write(connection: ScriptConnection) -> object:
    try:
        return await connection.run(["key"], ["value"], 5)
    finally:
        await connection.close()


def test_a_door_waits_for_replicas(nodes: tuple[Node, Node]) -> None:
    master, replica = nodes
    assert write(ScriptConnection(master.url, WRITE, 1)) == b"OK"
    assert replica.ask("GET", "key") == b"value"
    with pytest.raises(NotReplicated, match="1 of 2 replicas have the write"):
        write(ScriptConnection(master.url, WRITE, 2))
    replica.kill()
    with pytest.raises(NotReplicated, match="0 of 1 replicas have the write"):
        write(ScriptConnection(master.url, WRITE, 1))
    assert write(ScriptConnection(master.url, WRITE)) == b"OK"


def test_a_worker_waits_for_replicas(nodes: tuple[Node, Node]) -> None:
    master, replica = nodes
    with redis_client(master.url) as redis:
        assert push_entry(redis, LIVE, 1, b"entry", replicas=1)
        assert replica.ask("XLEN", LIVE.stream) == 1
        replica.kill()
        with pytest.raises(NotReplicated):
            push_entry(redis, LIVE, 1, b"entry", replicas=1)
