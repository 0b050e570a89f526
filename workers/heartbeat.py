"""Heartbeats: each process of the line reports its progress every few seconds, so hung and dead ones show.

A thread beats, so a process whose work hangs still reports how long it has been busy, and when it last got something
done. A process that stopped beating is taken to be gone. Reports hold ages, and Redis's clock dates them, so the clocks
of several machines need not agree.
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

from workers.redis import PREFIX

log = logging.getLogger(__name__)

WORKERS = f"{PREFIX}:workers"  # a hash: the process's name → the time and the text of its last beat
BEAT_SECONDS = 3.0
GONE_SECONDS = 15.0
FORGOTTEN_SECONDS = 3600.0
STUCK_SECONDS = 90.0  # without progress: more than any statement or job may take

# KEYS: WORKERS. ARGV: name, its beat.
BEAT = "return redis.call('HSET', KEYS[1], ARGV[1], redis.call('TIME')[1] .. ' ' .. ARGV[2])"
READ = "return {redis.call('TIME')[1], redis.call('HGETALL', KEYS[1])}"


class Beat(Struct, frozen=True):
    """A report of a process. Ages in seconds; None: it is idle, has got nothing done yet, has no trouble."""

    kind: str
    up_seconds: float
    busy_seconds: float | None
    progress_seconds: float | None
    trouble: str | None = None

    @property
    def stuck_seconds(self) -> float:
        """The time for which it has been busy without progress; 0 if that is under STUCK_SECONDS."""
        since_progress = self.up_seconds if self.progress_seconds is None else self.progress_seconds
        seconds = min(self.busy_seconds or 0.0, since_progress)
        return seconds if seconds >= STUCK_SECONDS else 0.0


Beats = dict[str, Beat]  # by the name of the process


class Heartbeat:
    """A process's own progress: its work writes it, and the thread that beats reads it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy: float | None = None
        self._unfinished: float | None = None  # when work began that failed, and has got nothing done since
        self._progress: float | None = None
        self._trouble: str | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Be busy until the end of the block. If it fails before anything got done, the process stays busy until other
        work ends well: a job that is ended and begun again for ever gets nothing done."""
        began = self._busy = time.monotonic() if self._unfinished is None else self._unfinished
        failed = True
        try:
            yield
            failed = self._trouble is not None
        finally:
            is_done = self._progress is not None and self._progress >= began
            self._unfinished = began if failed and not is_done else None
            self._busy = None
            if self._unfinished is None:
                self._trouble = None

    def progress(self) -> None:
        """Note that something got done."""
        self._progress, self._trouble = time.monotonic(), None

    def trouble(self, reason: str) -> None:
        """Note that something is in the way, until there is progress."""
        self._trouble = reason

    def report(self, kind: str) -> Beat:
        """Returns the beat of this moment."""
        now = time.monotonic()

        def age(since: float | None) -> float | None:
            return None if since is None else round(now - since, 1)

        return Beat(
            kind,
            round(now - self._started, 1),
            age(self._unfinished if self._busy is None else self._busy),
            age(self._progress),
            self._trouble,
        )


@contextmanager
def keep_beating(heartbeat: Heartbeat, redis: Redis, name: str, kind: str) -> Iterator[None]:
    """Beat until the end of the block, which takes the process off the list."""
    ending = threading.Event()
    thread = threading.Thread(target=_beat, args=(heartbeat, redis, name, kind, ending), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(BEAT_SECONDS)
        with suppress(RedisError):
            redis.hdel(WORKERS, name)


def _beat(heartbeat: Heartbeat, redis: Redis, name: str, kind: str, ending: threading.Event) -> None:
    while True:
        with suppress(RedisError):  # readers see that the beat is missing
            redis.eval(BEAT, 1, WORKERS, name, msgspec.json.encode(heartbeat.report(kind)))
        if ending.wait(BEAT_SECONDS):
            return


def queue_read(pipeline: Any) -> None:
    """Put the reading of all beats into a pipeline; `parse` takes the reply."""
    pipeline.eval_ro(READ, 1, WORKERS)


def parse(reply: Any, silent_seconds: float = GONE_SECONDS) -> Beats:
    """Returns the beats that are not older than this, from the reply to `queue_read`."""
    now, flat = int(reply[0]), reply[1]
    beats = {name.decode(): value.split(b" ", 1) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    return {
        name: msgspec.json.decode(beat, type=Beat)
        for name, (at, beat) in sorted(beats.items())
        if abs(now - int(at)) < silent_seconds  # a beat of the future is one from before Redis's clock went back
    }


def forget(redis: Redis) -> None:
    """Remove the processes that have not beaten for an hour."""
    reply: Any = redis.eval_ro(READ, 1, WORKERS)
    remembered = parse(reply, FORGOTTEN_SECONDS)
    if gone := [name for name in reply[1][::2] if name.decode() not in remembered]:
        redis.hdel(WORKERS, *gone)


def select_kind(beats: Beats, kind: str) -> Beats:
    """Returns the beats of one kind of process."""
    return {name: beat for name, beat in beats.items() if beat.kind == kind}


def find_faults(beats: Beats, kinds: Mapping[str, str]) -> Iterator[str]:
    """Yields what is wrong with the processes, in words. `kinds` must be there: the kind, and how it is started."""
    for kind, command in kinds.items():
        if not select_kind(beats, kind):
            yield f"no {kind} process runs; start `{command}`"
    for name, beat in beats.items():
        if beat.stuck_seconds:
            why = f" ({beat.trouble})" if beat.trouble else ""
            yield f"{beat.kind} {name} has got nothing done for {beat.stuck_seconds:.0f} seconds{why}"
