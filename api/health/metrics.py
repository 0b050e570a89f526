"""`GET /metrics`, for Prometheus. All sums are kept in Redis and Postgres, so any web process shows everything.

A server that is away is left out. Labels are lanes, codes and reasons: few, and nothing personal.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from api.buffers import Buffers
from api.health.probes import PROBE_SECONDS, PipelineState, read_pipeline
from api.pool import Pool
from api.timeouts import with_timeout
from workers import counters, heartbeat
from workers.buffer import ledger
from workers.buffer.ledger import Ledger
from workers.counters import HISTOGRAMS
from workers.heartbeat import Beats
from workers.redis import REDIS_AWAY
from workers.store import sql
from workers.tickets import JOBS

DUE_COUNTED = 100_000
HELP = {
    "track_seconds": "How long requests to track took",
    "ingest_batch_events": "Events of a batch that was stored",
    "ingest_seconds": "How long it took to store a batch, outages of Postgres included",
}

Families = Iterable[Metric]
DueRow = tuple[int, float]  # customers, seconds


class Scrape(NamedTuple):
    """A collector of metrics that were read beforehand."""

    families: list[Metric]

    def collect(self) -> Families:
        """Prometheus's name for it."""
        return self.families


async def metrics(request: Request) -> Response:
    """Returns all metrics, within a second."""
    state = request.app.state
    buffers: Buffers = state.door.buffers
    pools = {"home": state.pool} | {pool.place.name: pool for pool in state.pools}
    line, counted, due = await asyncio.gather(
        read_pipeline(state.door.redis, buffers.by_cell), _read_counters(state.door.redis), _ask_all(pools)
    )
    redis_up = {"home": bool(counted)} | (_find_present(line, buffers) if line else {})
    servers = _server_families({"postgres": {name: row is not None for name, row in due.items()}, "redis": redis_up})
    families = [*_pipeline_families(line, len(buffers.by_cell)), *counted, *_due_families(due), *servers]
    return Response(generate_latest(Scrape(families)), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


def _find_present(line: PipelineState, buffers: Buffers) -> dict[str, bool]:
    """Returns whether the buffer of each of several cells answers."""
    return {cell.name: cell.name in line.by_cell for cell in buffers.by_cell if cell.number is not None}


def _pipeline_families(line: PipelineState | None, cells: int) -> Families:
    """The counts of all cells are left out while one is missing: a counter that goes back is taken for a restart."""
    if line is None:
        return []
    waiting = [*_cell_families(line.by_cell)] if line.by_cell else [*_buffer_families(line.ledgers)]
    counts = [*_ledger_families(line.ledgers)] if len(line.by_cell) in (0, cells) else []
    return [*counts, _describe_unaccounted(line.ledgers), *waiting, *_worker_families(line.beats)]


async def _read_counters(redis: Redis) -> Families:
    names = ("rejected", *HISTOGRAMS)
    pipeline: Any = redis.pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(counters.key(name))
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            counted = dict(zip(names, map(counters.parse, await pipeline.execute()), strict=True))
    except REDIS_AWAY:
        return []
    rejected = counted.pop("rejected")
    return [
        _counter("events_rejected", "Events and requests that were refused", "code", rejected),
        *(_histogram(name, counts) for name, counts in counted.items()),
    ]


async def _ask_all(pools: Mapping[str, Pool]) -> Mapping[str, DueRow | None]:
    """Returns the answer of each Postgres, None where it is away: a metric must not fail for it."""
    asked = (with_timeout(PROBE_SECONDS, _ask_due(pool)) for pool in pools.values())
    answers = await asyncio.gather(*asked, return_exceptions=True)
    rows = (None if isinstance(answer, BaseException) else answer for answer in answers)
    return dict(zip(pools, rows, strict=True))


def _due_families(answers: Mapping[str, DueRow | None]) -> Families:
    rows = [row for row in answers.values() if row is not None]
    if not rows:
        return []
    due, lag_seconds = sum(count for count, _ in rows), max(lag for _, lag in rows)
    return [
        GaugeMetricFamily("windback_rescore_due", f"Customers whose risk is due, up to {DUE_COUNTED}", due),
        GaugeMetricFamily("windback_rescore_lag_seconds", "How long the first of them has been due", lag_seconds),
    ]


def _server_families(up: Mapping[str, Mapping[str, bool]]) -> Families:
    family = GaugeMetricFamily(
        "windback_server_up", "1 while this server of home, or of a cell, answers", labels=["server", "cell"]
    )
    for server, places in up.items():
        for place, is_up in places.items():
            family.add_metric([server, place], is_up)
    yield family


async def _ask_due(pool: Pool) -> DueRow:
    async with pool.connection() as connection:
        due: DueRow | None = await (await connection.execute(sql("due"), {"limit": DUE_COUNTED})).fetchone()
    assert due
    return due


def _ledger_families(ledgers: Mapping[str, Ledger]) -> Iterator[Metric]:
    accepted = {lane: lane_ledger.accepted for lane, lane_ledger in ledgers.items()}
    stored = sum(lane_ledger.stored for lane_ledger in ledgers.values())
    duplicate = sum(lane_ledger.duplicate for lane_ledger in ledgers.values())
    yield _counter("events_accepted", "Events that were written to the buffer", "lane", accepted)
    yield CounterMetricFamily("windback_events_stored", "Events that were stored", stored)
    yield CounterMetricFamily("windback_events_duplicate", "Events that were there already", duplicate)
    yield _counter("events_dead", "Events that could not be stored", "reason", ledger.count_dead(ledgers.values()))
    unresolved = sum(lane_ledger.unresolved for lane_ledger in ledgers.values())
    yield GaugeMetricFamily(
        "windback_events_unresolved", "Events that wait for the address of their user id", unresolved
    )


def _describe_unaccounted(ledgers: Mapping[str, Ledger]) -> Metric:
    unaccounted = sum(lane_ledger.unaccounted for lane_ledger in ledgers.values())
    return GaugeMetricFamily(
        "windback_events_unaccounted", "Accepted events that are missing from every count: 0, or a fault", unaccounted
    )


def _buffer_families(ledgers: Mapping[str, Ledger]) -> Iterator[Metric]:
    """The events that wait in each lane, for a single cell."""
    return _waiting_families(["lane"], [([lane], lane_ledger) for lane, lane_ledger in ledgers.items()])


def _cell_families(by_cell: Mapping[str, Mapping[str, Ledger]]) -> Iterator[Metric]:
    """The events that wait in each lane of each cell."""
    labelled = [([lane, cell], ledgers[lane]) for cell, ledgers in by_cell.items() for lane in ledgers]
    return _waiting_families(["lane", "cell"], labelled)


def _waiting_families(names: Sequence[str], ledgers: Sequence[tuple[Sequence[str], Ledger]]) -> Iterator[Metric]:
    events = GaugeMetricFamily("windback_buffer_events", "Events that wait to be stored", labels=names)
    oldest = GaugeMetricFamily("windback_buffer_oldest_seconds", "How long the first of them waits", labels=names)
    stalled = GaugeMetricFamily(
        "windback_buffer_stalled_seconds", "How long events have waited while none was stored", labels=names
    )
    for labels, lane_ledger in ledgers:
        events.add_metric(labels, lane_ledger.buffered)
        oldest.add_metric(labels, lane_ledger.oldest_seconds)
        stalled.add_metric(labels, lane_ledger.stalled_seconds)
    yield from (events, oldest, stalled)


def _worker_families(beats: Beats) -> Iterator[Metric]:
    alive = GaugeMetricFamily("windback_workers", "Processes that run", labels=["kind"])
    stuck = GaugeMetricFamily("windback_workers_stuck", "Those of them that get nothing done", labels=["kind"])
    for kind in (*JOBS, "clock"):
        of_kind = heartbeat.select_kind(beats, kind).values()
        alive.add_metric([kind], len(of_kind))
        stuck.add_metric([kind], sum(1 for beat in of_kind if beat.stuck_seconds))
    yield from (alive, stuck)


def _counter(name: str, text: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"windback_{name}", text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, counts: Mapping[str, float]) -> Metric:
    buckets = HISTOGRAMS[name].buckets
    below = accumulate(counts.get(bucket, 0) for bucket in buckets)
    total = counts.get(counters.SUM, 0.0)
    return HistogramMetricFamily(f"windback_{name}", HELP[name], list(zip(buckets, below, strict=True)), total)
