"""Counts that many processes share.

A process counts in memory, and adds its counts to hashes in Redis every second; so any process can read the sums, also
after restarts. A process that is killed loses what it had not added yet: counts that must be exact move with the
entries of the buffer (see workers/buffer/ledger.py). Only one thread of a process may count.
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from workers.redis import PREFIX

FLUSH_SECONDS = 1.0
SUM = "sum"


class Histogram(NamedTuple):
    """The upper bounds of a histogram's buckets, and the names of all of them."""

    bounds: tuple[float, ...]
    buckets: tuple[str, ...]


def _histogram(*bounds: float) -> Histogram:
    return Histogram(bounds, (*(str(float(bound)) for bound in bounds), "+Inf"))


HISTOGRAMS: Mapping[str, Histogram] = {
    "track_seconds": _histogram(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
    "ingest_batch_events": _histogram(1, 10, 100, 500, 1000, 2500, 5000, 10_000, 50_000),
    "ingest_seconds": _histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
}

Counts = dict[str, dict[str, float]]  # by name, then by field

_counts: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(int))


def key(name: str) -> str:
    """The hash in Redis that adds up what all processes counted under a name."""
    return f"{PREFIX}:counters:{name}"


def add(name: str, field: str, number: int = 1) -> None:
    """Count: `add("rejected", "timestamp_invalid", 3)`. Fields must be few: each stays for ever."""
    _counts[name][field] += number


def observe(name: str, value: float) -> None:
    """Put a value into its bucket of one of HISTOGRAMS."""
    bounds, buckets = HISTOGRAMS[name]
    counts = _counts[name]
    counts[buckets[bisect_left(bounds, value)]] += 1
    counts[SUM] += value


async def flush(redis: AsyncRedis) -> None:
    """Add the counts to Redis's sums. Counts that can't be added now are kept for the next time."""
    with _take_counts() as counts:
        if counts:
            await _queue_write(redis.pipeline(), counts).execute()


def flush_sync(redis: Redis) -> None:
    """As `flush`, for a worker."""
    with _take_counts() as counts:
        if counts:
            _queue_write(redis.pipeline(), counts).execute()


@asynccontextmanager
async def flush_regularly(redis: AsyncRedis) -> AsyncIterator[None]:
    """Flush every second until the end of the block, and once more then."""
    ending = asyncio.Event()
    task = asyncio.create_task(_flush_until(ending, redis))
    try:
        yield
    finally:
        ending.set()  # the task isn't cancelled: a write that was cut off could be there, and would be written again
        await task


def parse(fields: Mapping[bytes, bytes]) -> dict[str, float]:
    """Returns the numbers of a hash of Redis, by field."""
    return {field.decode(): float(number) for field, number in fields.items()}


async def _flush_until(ending: asyncio.Event, redis: AsyncRedis) -> None:
    while not ending.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), FLUSH_SECONDS)
        await flush(redis)


@contextmanager
def _take_counts() -> Iterator[Counts]:
    """Yields the counts since the last time. If the block fails, they are put back; failures of Redis end here."""
    taken: Counts = dict(_counts)
    _counts.clear()
    try:
        yield taken
    except BaseException as error:
        for name, fields in taken.items():
            for field, number in fields.items():
                _counts[name][field] += number
        if not isinstance(error, RedisError | OSError | TimeoutError):
            raise


def _queue_write(pipeline: Any, counts: Counts) -> Any:
    for name, fields in counts.items():
        for field, number in fields.items():
            increase = pipeline.hincrbyfloat if field == SUM else pipeline.hincrby
            increase(key(name), field, number)
    return pipeline
