"""Failed attempts at entries, counted so that an entry that can't be handled doesn't stop its lane.

A batch that failed is tried again in smaller parts, at last entry by entry, and an entry that still fails alone is set
aside. The counts stand in Redis, where they outlive a process that the entry has killed. An outage of Postgres is no
failure of an entry: it ends the attempt.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis import Redis

from workers.buffer.lanes import Lane
from workers.buffer.stream import StreamEntry

PARTS = 8  # into which a batch is cut that failed once
ALONE_AFTER = 2  # attempts: then entries are tried one by one
SET_ASIDE_AFTER = 5
REMEMBERED_SECONDS = 86_400


class Attempt(NamedTuple):
    """Entries that are tried together; `is_hopeless` if it is a single one that failed too often alone."""

    entries: list[StreamEntry]
    is_hopeless: bool


class Attempts:
    """The attempts at the entries of a lane."""

    def __init__(self, redis: Redis, lane: Lane) -> None:
        self._redis, self._key = redis, lane.attempts

    def choose(self, entries: Sequence[StreamEntry]) -> Attempt:
        """Returns the first of these entries that may be tried together. `entries` must not be empty."""
        counts: Any = self._redis.hmget(self._key, [entry.id for entry in entries])
        numbers = [int(count or 0) for count in counts]
        if numbers[0] >= ALONE_AFTER:
            return Attempt([entries[0]], numbers[0] >= SET_ASIDE_AFTER)
        most = -(-len(entries) // PARTS) if numbers[0] else len(entries)
        alike = next((place for place, number in enumerate(numbers) if number != numbers[0]), len(entries))
        return Attempt(list(entries[: min(most, alike)]), False)

    def begin(self, entries: Sequence[StreamEntry]) -> None:
        """Count an attempt at these entries."""
        pipeline = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipeline.hincrby(self._key, entry.id.decode(), 1)
        pipeline.expire(self._key, REMEMBERED_SECONDS)
        pipeline.execute()

    def forgive(self, entries: Sequence[StreamEntry]) -> None:
        """Forget the last attempts at entries that were read: a failure now is not their fault. They stay alone."""
        if len(entries) == 1:
            self._redis.hset(self._key, entries[0].id.decode(), ALONE_AFTER)

    def end(self, entries: Sequence[StreamEntry]) -> None:
        """Forget all attempts at these entries."""
        self._redis.hdel(self._key, *(entry.id.decode() for entry in entries))
