"""Clocks share cells: each takes about as many, and those of one that ended go to the others."""

from pathlib import Path

import msgspec
from redis import Redis

from workers.heartbeat import BEAT, WORKERS, Beat
from workers.process import Process
from workers.settings import Settings
from workers.turns import Turns

CELLS = 5


def clock(settings: Settings, redis: Redis) -> tuple[Process, Turns]:
    """A clock that beats."""
    process = Process(settings, redis)
    redis.eval(BEAT, 1, WORKERS, process.name, msgspec.json.encode(Beat("clock", 1.0, None, None)))
    return process, Turns(CELLS)


def taken(process: Process, turns: Turns) -> set[int]:
    """The cells that a clock has after a tick."""
    turns._counted = float("-inf")
    return {number for number in range(CELLS) if turns.take(process.at(number))}


def test_clocks_share_cells(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url="postgresql://nobody", redis_url=redis_url, data_dir=tmp_path, cells=CELLS)
    first = clock(settings, redis)
    assert taken(*first) == set(range(CELLS))
    second = clock(settings, redis)
    before = taken(*first)
    assert len(before) == 3  # it gives up what is more than its share
    assert taken(*second) == set(range(CELLS)) - before
    assert taken(*first) == before


def test_the_cells_of_a_clock_that_ended_are_taken(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url="postgresql://nobody", redis_url=redis_url, data_dir=tmp_path, cells=CELLS)
    first, second = clock(settings, redis), clock(settings, redis)
    both = taken(*first) | taken(*second)
    assert both == set(range(CELLS))
    redis.hdel(WORKERS, first[0].name)
    redis.delete(*redis.keys("windback:{c*}:clock"))  # as leases end by themselves
    assert taken(*second) == set(range(CELLS))
