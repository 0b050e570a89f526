"""Replicas: with WINDBACK_BUFFER_REPLICAS, a write counts once so many replicas have it, too.

A master that dies takes with it what its replicas don't have yet. So whoever makes a promise after a write, or takes
something away elsewhere because of it, waits for them (WAIT, on the connection of the write). A write that is not
confirmed may be there or not: it is done again, as after a lost connection.

A master that hung goes on as one until it hears of its successor. Writes in that moment are lost with it, and were
promised to nobody. So a worker stores what it has read once a replica has it, too, or a new connection still finds it.
"""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from workers.buffer.lanes import Lane

WAIT_MILLISECONDS = 1_000  # of a worker; a door has less time

# KEYS: stream, outcomes. ARGV: ids of entries. Returns those that are there, and writes, so that there is something to
# wait for.
LOOK_AGAIN = """
redis.call('HSET', KEYS[2], 'read_at', redis.call('TIME')[1])
local present = {}
for _, id in ipairs(ARGV) do
  if redis.call('XRANGE', KEYS[1], id, id)[1] then present[#present + 1] = id end
end
return present
"""


class NotReplicated(RedisError):
    """Too few replicas have a write in time. It is done again."""


def check_copies(copies: int, replicas: int) -> None:
    """Raises NotReplicated unless so many replicas have a write."""
    if copies < replicas:
        raise NotReplicated(f"{copies} of {replicas} replicas have the write (WINDBACK_BUFFER_REPLICAS)")


def execute(pipeline: Any, replicas: int) -> list[Any]:
    """Returns the replies to the commands of a pipeline, once so many replicas have what they wrote. Raises RedisError,
    NotReplicated."""
    if not replicas:
        return list(pipeline.execute())
    pipeline.execute_command("WAIT", replicas, WAIT_MILLISECONDS)
    replies = list(pipeline.execute())
    check_copies(replies.pop(), replicas)
    return replies


def confirm(redis: Redis, lane: Lane, replicas: int) -> None:
    """Raises NotReplicated unless so many replicas have all that was written so far, by anybody, to the node that holds
    the lane; RedisError."""
    if replicas:
        pipeline: Any = redis.pipeline(transaction=False)
        pipeline.eval(LOOK_AGAIN, 2, lane.stream, lane.outcomes)
        execute(pipeline, replicas)


def find_lasting(redis: Redis, stream: str, outcomes: str, ids: Sequence[bytes], replicas: int) -> set[bytes]:
    """Returns those of the entries that stay if the master dies. Where no replica confirms them in time, another
    connection, which leads to the master of then, has the last word. Raises RedisError."""
    look: list[Any] = [LOOK_AGAIN, 2, stream, outcomes, *ids]
    pipeline: Any = redis.pipeline(transaction=False)
    pipeline.eval(*look)
    pipeline.execute_command("WAIT", replicas, WAIT_MILLISECONDS)
    present, copies = pipeline.execute()
    if copies < replicas:
        redis.connection_pool.disconnect(inuse_connections=False)
        present = redis.eval(*look)
    return set(present)
