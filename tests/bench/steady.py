"""Totals beside a steady stream: do they keep up with it, and how far behind are they?"""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import NamedTuple

from redis import Redis

from tests.acceptance.line import line
from tests.bench import ingest, stream
from tests.bench.measure import Line
from tests.bench.world import World
from workers.accounts import keys
from workers.buffer.entries import Entry, Request, encode_entry
from workers.buffer.lanes import LIVE
from workers.buffer.stream import ENTRY_EVENTS
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import Connection, connect
from workers.tickets import ask

RATE = 15_000  # events a second
SECONDS, LONG_SECONDS = 90.0, 600.0
TURN_SECONDS = 0.1
BODIES = 3_000  # of ENTRY_EVENTS each, sent again and again: without a timestamp each event is a new one
LOOK_SECONDS = 1.0
BEHIND = "SELECT extract(epoch FROM now() - at + worked_seconds * interval '1 second') FROM tallied"


def run(world: World) -> list[Line]:
    """The cost of totals for ingest; then the processes that store, score and keep them, and a producer beside."""
    beside = ingest.run_beside_totals(world)
    with ExitStack() as stack:
        redis = stack.enter_context(redis_client(world.servers.redis_url))
        redis.flushall()
        url = stack.enter_context(world.database())
        connection = stack.enter_context(connect(url))
        keys.create(connection, redis, "default")
        settings = Settings(database_url=url, redis_url=world.servers.redis_url)
        processes = stack.enter_context(line(settings, world.folder / "steady.log"))
        del processes.environment["WINDBACK_BATCH_EVENTS"]
        processes.start("ingest", "score", "clock")
        stack.enter_context(_producing(redis))
        watched = _watch(redis, connection, LONG_SECONDS if world.long else SECONDS)
    return [beside, *_describe(watched)]


class Watched(NamedTuple):
    """The state by the second: waiting events, the delay of the totals in seconds, events sent and stored a second."""

    waits: list[int]
    lags: list[float]
    sent: float
    stored: float


def _watch(redis: Redis, connection: Connection, seconds: float) -> Watched:
    waits, lags, began, before = [], [], time.monotonic(), _count(redis)
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(LOOK_SECONDS)
        waits.append(redis.xlen(LIVE.stream) * ENTRY_EVENTS)
        row = connection.execute(BEHIND).fetchone()
        lags.append(min(passed, float(row[0]) if row else passed))
    sent, stored = ((now - then) / passed for now, then in zip(_count(redis), before, strict=True))
    return Watched(waits, lags, sent, stored)


def _count(redis: Redis) -> tuple[int, int]:
    """Returns how many events were sent and stored so far."""
    sent, stored = redis.hmget(LIVE.ledger, "accepted", "settled")
    return int(sent or 0), int(stored or 0)


def _describe(watched: Watched) -> list[Line]:
    """Bounded is what is no longer in the second half than in the first; the first tallies are small, so the first
    quarter counts for nothing."""
    quarter = len(watched.lags) // 4
    earlier, later = watched.lags[quarter : 2 * quarter], watched.lags[2 * quarter :]
    return [
        Line(f"totals: a steady {RATE:,} events/s, sent", watched.sent, "events/s", None, f"≥ {0.99 * RATE:,.0f}"),
        Line("  stored", watched.stored, "events/s", None, f"≥ {0.99 * RATE:,.0f}"),
        Line("  events that waited to be stored, at most", max(watched.waits), "events"),
        Line("  and at the end", watched.waits[-1], "events", None, f"under {2 * RATE:,}"),
        Line("  the longest that totals were behind", max(watched.lags), "s", None, "at most 150"),
        Line(
            "  bounded: the median of it, second half and second quarter", median(later), "s", median(earlier), "≤ 1.2"
        ),
    ]


@contextmanager
def _producing(redis: Redis) -> Iterator[None]:
    """Entries at an even pace until the end of the block."""
    ending = threading.Event()
    thread = threading.Thread(target=_produce, args=(redis, _bodies(), ending), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _bodies() -> Sequence[bytes]:
    sent = stream.events(BODIES * ENTRY_EVENTS)
    for event in sent:
        del event["timestamp"]
    return stream.bodies(sent, ENTRY_EVENTS)


def _produce(redis: Redis, bodies: Sequence[bytes], ending: threading.Event) -> None:
    numbers = itertools.count()
    began = time.monotonic()
    for turn in itertools.count(1):
        entries = int(turn * TURN_SECONDS * RATE / ENTRY_EVENTS) - int((turn - 1) * TURN_SECONDS * RATE / ENTRY_EVENTS)
        pipeline = redis.pipeline(transaction=False)
        for number in itertools.islice(numbers, entries):
            request = Request(1, time.time_ns() // 1000, bodies[number % len(bodies)])
            entry = encode_entry(Entry(number.to_bytes(12, "big"), [request]))
            pipeline.xadd(LIVE.stream, {"n": ENTRY_EVENTS, "entry": entry})
        pipeline.hincrby(LIVE.ledger, "accepted", ENTRY_EVENTS * entries)
        pipeline.execute()
        ask(redis, LIVE.queue)
        if ending.wait(max(0.0, began + turn * TURN_SECONDS - time.monotonic())):
            return
