"""Replicas: with WINDBACK_BUFFER_REPLICAS, a write counts once so many replicas have it, too.

A master that dies takes with it what its replicas don't have yet. So whoever makes a promise after a write, or takes
something away elsewhere because of it, waits for them (WAIT, on the connection of the write). A write that is not
confirmed may be there or not: it is done again, as after a lost connection.
"""

from typing import Any

from redis.exceptions import RedisError

WAIT_MILLISECONDS = 1_000  # of a worker; a door has less time


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
