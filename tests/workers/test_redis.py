"""A Redis that is not ours alone, or moves to another node."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import rq
from redis import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

from tests.waiting import wait_until
from workers import redis as clients
from workers.buffer.connection import ScriptConnection
from workers.nodes import NotThisNode
from workers.redis import async_client, command_client, redis_client

WRITES: tuple[Callable[[Any], object], ...] = (
    lambda client: client.set("a", 1),
    lambda client: client.pipeline(transaction=False).get("before").set("a", 1).execute(),
    lambda client: client.pipeline().set("a", 1).execute(),
    lambda client: client.eval("return redis.call('SET', KEYS[1], 1)", 1, "a"),
)


@pytest.fixture
def demoted(redis: Redis) -> Iterator[None]:
    """The node is a replica for a while, as after a failover."""
    redis.set("before", 1)
    redis.replicaof("127.0.0.1", 1)
    yield
    redis.replicaof("NO", "ONE")


@pytest.mark.usefixtures("demoted")
@pytest.mark.parametrize("write", WRITES, ids=["command", "pipeline", "transaction", "script"])
def test_a_replica_is_a_lost_connection(redis_url: str, write: Callable[[Redis], object]) -> None:
    """The next call opens another one."""
    with command_client(redis_url) as client:
        with pytest.raises(NotThisNode):
            write(client)
        assert client.get("before") == b"1"


@pytest.mark.usefixtures("demoted")
def test_a_replica_is_a_lost_connection_for_the_door(redis_url: str) -> None:
    async def write() -> None:
        async with async_client(redis_url, retry=AsyncRetry(NoBackoff(), 0)) as client:
            with pytest.raises(NotThisNode):
                await client.set("a", 1)
            with pytest.raises(NotThisNode):
                await cast(Any, client.pipeline(transaction=False)).get("before").set("a", 1).execute()
            assert await client.get("before") == b"1"

    asyncio.run(write())


@pytest.mark.usefixtures("demoted")
def test_a_replica_is_a_lost_connection_for_a_script(redis_url: str) -> None:
    async def run() -> None:
        connection = ScriptConnection(redis_url, "return redis.call('SET', KEYS[1], 1)")
        with pytest.raises(NotThisNode):
            await connection.run(["a"], [], 5)
        await connection.close()

    asyncio.run(run())


def test_a_worker_goes_on_when_the_node_is_a_master_again(redis: Redis, redis_url: str) -> None:
    """It tries for a while, as after any lost connection."""
    redis.replicaof("127.0.0.1", 1)
    threading.Timer(0.3, lambda: redis.replicaof("NO", "ONE")).start()
    with redis_client(redis_url) as client:
        wait_until(lambda: _sets(client))


def _sets(client: Redis) -> bool:
    try:
        return bool(client.set("a", 1))
    except NotThisNode:
        return False


def test_rqs_keys_begin_as_ours_do() -> None:
    assert rq.Queue.redis_queue_namespace_prefix == f"{clients.PREFIX}:rq:queue:"
    assert rq.Worker.redis_workers_keys == f"{clients.PREFIX}:rq:workers"


@pytest.mark.parametrize(("prefix", "expected"), [("shop", "shop"), ("", "windback"), ("a b", "windback")])
def test_a_prefix_is_a_setting(prefix: str, expected: str) -> None:
    code = "import workers.buffer.lanes as l, workers.tickets as t; print(l.LIVE.stream, t.Queue.redis_queues_keys)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WINDBACK_REDIS_PREFIX": prefix},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"{expected}:buffer:live", f"{expected}:rq:queues"]
