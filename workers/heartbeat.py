"""What each process of the line says of itself every few seconds, so that one that hangs, or is gone, is seen.

A thread beats, so a process whose work hangs still says so: it tells for how long it has been busy, and since when it
got nothing done. A process that stopped beating is taken to be gone. Ages are told, and Redis's clock dates them, so
the clocks of several machines need not agree.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from msgspec import Struct
from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

WORKERS = "windback:workers"  # a hash: the process's name → when it last said something, and what
BEAT_SECONDS = 3.0
GONE_SECONDS = 15.0
FORGOTTEN_SECONDS = 3600.0
STUCK_SECONDS = 90.0  # without progress: more than any statement or job may take

# KEYS: WORKERS. ARGV: name, what it says.
BEAT = "return redis.call('HSET', KEYS[1], ARGV[1], redis.call('TIME')[1] .. ' ' .. ARGV[2])"
READ = "return {redis.call('TIME')[1], redis.call('HGETALL', KEYS[1])}"


class Beat(Struct, frozen=True):
    """What a process says. Ages in seconds; None: it is idle, has got nothing done yet, has no trouble."""

    kind: str
    up_seconds: float
    busy_seconds: float | None
    progress_seconds: float | None
    trouble: str | None = None

    @property
    def stuck_seconds(self) -> float:
        """For how long it has been busy without getting anything done; 0 where that is under STUCK_SECONDS."""
        still = min(
            self.busy_seconds or 0.0, self.up_seconds if self.progress_seconds is None else self.progress_seconds
        )
        return still if still >= STUCK_SECONDS else 0.0


Beats = dict[str, Beat]  # by the name of the process


class Pulse:
    """What one process knows of its own progress; its thread reads what its work writes."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy: float | None = None
        self._progress: float | None = None
        self._trouble: str | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """At work, until the end of the block."""
        self._busy = time.monotonic()
        try:
            yield
        finally:
            self._busy = self._trouble = None

    def progress(self) -> None:
        """Something got done."""
        self._progress, self._trouble = time.monotonic(), None

    def trouble(self, reason: str) -> None:
        """Something is in the way, until there is progress."""
        self._trouble = reason

    def beat(self, kind: str) -> Beat:
        """What to say now."""
        now = time.monotonic()

        def age(since: float | None) -> float | None:
            return None if since is None else round(now - since, 1)

        return Beat(kind, round(now - self._started, 1), age(self._busy), age(self._progress), self._trouble)


@contextmanager
def beating(pulse: Pulse, redis: Redis, name: str, kind: str) -> Iterator[None]:
    """Beat until the end of the block, which takes the process off the list."""
    ending = threading.Event()
    thread = threading.Thread(target=_beat, args=(pulse, redis, name, kind, ending), name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(BEAT_SECONDS)
        with suppress(RedisError):
            redis.hdel(WORKERS, name)


def _beat(pulse: Pulse, redis: Redis, name: str, kind: str, ending: threading.Event) -> None:
    while True:
        with suppress(RedisError):  # who reads it sees that it is missing
            redis.eval(BEAT, 1, WORKERS, name, msgspec.json.encode(pulse.beat(kind)))
        if ending.wait(BEAT_SECONDS):
            return


def ask(pipeline: Any) -> None:
    """Put the question for all processes into a pipeline; `parsed` reads its answer."""
    pipeline.eval_ro(READ, 1, WORKERS)


def parsed(reply: Any, silent_seconds: float = GONE_SECONDS) -> Beats:
    """The answer to `ask`: those that said something within this time."""
    now, flat = int(reply[0]), reply[1]
    said = {name.decode(): value.split(b" ", 1) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    return {
        name: msgspec.json.decode(beat, type=Beat)
        for name, (at, beat) in sorted(said.items())
        if now - int(at) < silent_seconds
    }


def forget(redis: Redis) -> None:
    """Take those off the list that have said nothing for an hour."""
    reply: Any = redis.eval_ro(READ, 1, WORKERS)
    known = parsed(reply, FORGOTTEN_SECONDS)
    if gone := [name for name in reply[1][::2] if name.decode() not in known]:
        redis.hdel(WORKERS, *gone)


def of_kind(beats: Beats, kind: str) -> Beats:
    """Those of one kind."""
    return {name: beat for name, beat in beats.items() if beat.kind == kind}


def faults(beats: Beats, kinds: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the processes, in words; each of `kinds` must be there: the kind, and how it is started."""
    for kind, command in kinds.items():
        if not of_kind(beats, kind):
            yield f"no {kind} process runs; start `{command}`"
    for name, beat in beats.items():
        if beat.stuck_seconds:
            why = f" ({beat.trouble})" if beat.trouble else ""
            yield f"{beat.kind} {name} has got nothing done for {beat.stuck_seconds:.0f} seconds{why}"
