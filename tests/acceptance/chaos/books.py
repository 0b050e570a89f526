"""The audit of Redis and of what is reported: the ledger, the keys, `windback status` and the metrics."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.acceptance.chaos.plant import Plant
from tests.workers.events import count
from workers.buffer import ledger
from workers.buffer.lanes import LANES, Lane, lanes_of
from workers.buffer.ledger import Ledger
from workers.cells import Cell
from workers.store import Connection, only_row


class Kind(NamedTuple):
    """A key that has a purpose. `seconds`: how long it may live at most without being used; None: for ever."""

    pattern: str
    seconds: int | None


MINUTE, DAY = 60, 86400
KINDS = (
    Kind(r"windback:(buffer|ledger|outcomes):(live|history)", None),
    Kind(r"windback:counters:\w+", None),
    Kind(r"windback:keys(:used)?", None),
    Kind(r"windback:workers", None),
    Kind(r"windback:prune", 7 * DAY),
    Kind(r"windback:prune:resting", DAY),
    Kind(r"windback:(sign-in:.*|form:.*)", DAY),
    Kind(r"windback:names:\d+", None),
    Kind(r"windback:(clock|probe)", MINUTE),
    Kind(r"windback:ticket:(ingest|import|score|deliver)", MINUTE),
    Kind(r"windback:(installation|arrivals)", None),
    Kind(r"windback:track-records", 15 * MINUTE),
    Kind(r"windback:attempts:(live|history)", DAY),
    Kind(r"windback:move:[\w-]+", 7 * DAY),
    Kind(r"windback:rate:\d+", 2 * MINUTE),
    Kind(r"windback:arrivals", None),
    Kind(r"windback:installation", None),
    Kind(r"windback:track-records", None),
    Kind(r"windback:volume:\d+:\d+", 60 * DAY),
    Kind(r"windback:warnings:\d+(:\d{8})?", 8 * DAY),
    Kind(r"windback:nightly:\d+:\d+", 2 * DAY),
    Kind(r"windback:train", DAY),
    Kind(r"windback:addresses", None),
    Kind(r"windback:cells(:here)?", None),
    Kind(r"windback:home:(keys|cells|installation)", None),
    Kind(r"windback:(lodging|lodgers:\d{3}:(live|history))", None),
    # RQ's own: queues, workers, and what a worker was at when it died, until that is found out and noted as failed.
    Kind(r"windback:rq:(queues|workers|workers:\w+|queue:\w+|queue:\w+:intermediate|(failed|wip|finished):\w+)", None),
    Kind(r"windback:rq:queue:\w+:intermediate:first_seen:[\w-]+", DAY),
    Kind(r"windback:rq:worker:\w+(:executions)?", 10 * MINUTE),
    Kind(r"windback:rq:(clean_registries:\w+|clean_groups)", 15 * MINUTE),
    Kind(r"windback:rq:executions?:[\w:-]+", 10 * MINUTE),
    Kind(r"windback:rq:results:[\w-]+", 7 * DAY),
    Kind(r"windback:rq:job:[\w-]+", None),
)


def all_of(plant: Plant, connections: Sequence[Connection], acknowledged: int, dead: range) -> Iterator[str]:
    """Everything but the events themselves."""
    by_cell = ledgers_by_cell(plant)
    for cell, lanes in by_cell.items():
        for name, lane in lanes.items():
            if lane.unaccounted or lane.lodging:
                yield f"the ledger of {name} in cell {cell.name}: {lane.unaccounted} unaccounted, {lane.lodging} lodge"
    ledgers_now = sum_up(by_cell)
    yield from balanced(ledgers_now, connections, acknowledged, dead)
    with plant.all_redises() as redises:
        for redis in redises:
            yield from keys(redis)
    yield from reported(plant, ledgers_now)


def ledgers(redis: Redis, lanes: Mapping[str, Lane] = LANES) -> dict[str, Ledger]:
    """By lane."""
    pipeline = redis.pipeline()
    for lane in lanes.values():
        ledger.queue_read(pipeline, lane)
    return dict(zip(lanes, map(ledger.parse, pipeline.execute()), strict=True))


def ledgers_by_cell(plant: Plant) -> dict[Cell, dict[str, Ledger]]:
    """By cell and lane."""
    with plant.cell_buffers() as buffers:
        return {cell: ledgers(redis, lanes_of(cell)) for cell, redis in buffers}


def sum_up(by_cell: Mapping[Cell, Mapping[str, Ledger]]) -> dict[str, Ledger]:
    """By lane, over all cells."""
    return {name: ledger.merge([lanes[name] for lanes in by_cell.values()]) for name in LANES}


def balanced(
    ledgers_now: Mapping[str, Ledger], connections: Sequence[Connection], acknowledged: int, dead: range
) -> Iterator[str]:
    """What was accepted is accounted for to the event, and what is said to be stored is there."""
    for name, lane in ledgers_now.items():
        if lane.unaccounted or lane.buffered or lane.entries:
            counts = f"{lane.unaccounted} unaccounted, {lane.buffered} buffered, {lane.entries} entries"
            yield f"the ledger of {name}: {counts}"
    accepted, stored = (sum(getattr(lane, field) for lane in ledgers_now.values()) for field in ("accepted", "stored"))
    if accepted < acknowledged:
        yield f"{accepted} were accepted, and {acknowledged} answered for"
    erasures = "SELECT coalesce(sum(events), 0)::bigint FROM erasures"
    erased = sum(only_row(connection.execute(erasures))[0] for connection in connections)
    prunings = "SELECT coalesce(sum(cardinality(keys)), 0)::bigint FROM pruned"
    pruned = sum(only_row(connection.execute(prunings))[0] for connection in connections)
    there = _count(connections, "events") + erased + pruned
    if stored != there:
        gone = f"{erased} erased and {pruned} pruned ones included"
        yield f"{stored} are said to be stored, and there are {there}, {gone}"
    reasons = ledger.count_dead(ledgers_now.values())
    letters = _count(connections, "dead_letters")
    if sum(reasons.values()) != letters or letters not in dead:
        yield f"{reasons} are dead, there are {letters} dead letters, and {dead} were to be expected"


def _count(connections: Sequence[Connection], table: str) -> int:
    return sum(count(connection, table) for connection in connections)


def keys(redis: Redis) -> Iterator[str]:
    """Every key has a purpose, and those that are only needed for a while end by themselves."""
    for key in map(bytes.decode, redis.scan_iter(count=1000)):
        plain = re.sub(r"^windback:{c\d{3}}", "windback", key)
        kind = next((kind for kind in KINDS if re.fullmatch(kind.pattern, plain)), None)
        seconds: Any = redis.ttl(key)
        if kind is None:
            yield f"a key without a purpose: {key}"
        elif kind.seconds is not None and (seconds == -1 or seconds > kind.seconds):
            yield f"{key} ends in {seconds} seconds, at most {kind.seconds} make sense"
    yield from _jobs(redis)


def _jobs(redis: Redis) -> Iterator[str]:
    """Every job that is kept is on some list, by which RQ ends it."""
    listed: set[str] = set()
    ledgers_now: list[Any] = list(redis.scan_iter(match="windback:rq:*"))
    for key in ledgers_now:
        kind: Any = redis.type(key)
        read: Any = {b"zset": redis.zrange, b"list": redis.lrange}.get(kind)
        listed |= {member.decode().partition(":")[0] for member in (read(key, 0, -1) if read else ())}
    for job in (key.decode() for key in ledgers_now if key.startswith(b"windback:rq:job:")):
        if job.removeprefix("windback:rq:job:") not in listed and redis.ttl(job) == -1:
            yield f"a job that RQ has forgotten: {job}"


def reported(plant: Plant, ledgers_now: Mapping[str, Ledger]) -> Iterator[str]:
    """`windback status` and the metrics say the same."""
    ledgers = ledgers_now.values()
    sums = {name: sum(getattr(counts, name) for counts in ledgers) for name in ("accepted", "stored", "duplicate")}
    sums |= {"unaccounted": sum(counts.unaccounted for counts in ledgers)}
    status = json.loads(plant.run("status", "--json"))["ledger"]
    if {name: status[name] for name in sums} != sums:
        yield f"`windback status` says {status}, and the ledger {sums}"
    text = httpx2.get(f"http://127.0.0.1:{plant.port}/metrics", timeout=10).text
    metrics: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metrics[sample.name] = metrics.get(sample.name, 0) + sample.value
    names = {name: f"windback_events_{name}" + ("" if name == "unaccounted" else "_total") for name in sums}
    if {name: metrics[metric] for name, metric in names.items()} != sums:
        yield f"the metrics say {[(m, metrics.get(m)) for m in names.values()]}, and the ledger {sums}"
