"""Several cells beside a single one, all on one Postgres and one Valkey: what two workers gain, and what cells cost.

Costs are CPU time of all processes that take part, since rounds in turn of that tell something on a busy machine too.
Only the first line is by a clock on the wall: it needs two cores and a quiet machine. The lines below it say how far it
can go: one worker and its servers keep more than a core busy, and two can't keep more busy than there are.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection

from tests.bench import rescore as scoring
from tests.bench import stream
from tests.bench.cell_world import CELLS, Cells, installed, keep_own, prepare
from tests.bench.cpu import CpuMeter, find_redis_pid, read_server_seconds
from tests.bench.door import CONNECTIONS, Load, make_load, run_wrk, serving
from tests.bench.ingest import tune_interpreter
from tests.bench.measure import Line, interleaved
from tests.bench.reading import SHORT, Path, routes
from tests.bench.world import World
from tests.bench.year import fill as fill_year
from tests.bench.year import fill_totals
from workers.accounts import keys
from workers.buffer.entries import Entry, Request, encode_entry
from workers.buffer.lanes import LIVE, lanes_of
from workers.buffer.parts import split_events
from workers.buffer.stream import ENTRY_EVENTS
from workers.ingest import ingest
from workers.risk import rescore
from workers.store import Connection

EVENTS = {stream.BATCH: 30_000, 1: 10_000}  # by how many events a request has
SCALED_EVENTS = 300_000  # of fewer, a worker's first batches are too large a share
COUNTS = {"one": 1, "several": CELLS}
TARGETS = {stream.BATCH: "≤ 1.15", 1: "≤ 1.3"}
READ_ROUTES = 12  # every so many-th of the routes is asked
READ_TIMES = 10  # each of them, since CPU time is counted in hundredths of a second
Entries = Mapping[int, list[tuple[int, bytes]]]  # by cell: how many events an entry has, and the entry


def run(world: World) -> list[Line]:
    """The gain of two workers on two cells, and the cost of an event, a score and an answer through several cells."""
    ingest.LINGER_SECONDS = 0.001  # waiting for more is no work
    with prepare(world, 1, 2, CELLS):
        tune_interpreter()
        lines = list(_scaling(world))
        for batch in EVENTS:
            lines += _costs(world, batch)
        return [*lines, _rescoring(world), _reading(world)]


def _scaling(world: World) -> Iterator[Line]:
    runs = {
        str(cells): partial(_drain_all, world, cells, _pack(SCALED_EVENTS, stream.BATCH, cells)) for cells in (1, 2)
    }
    measured = interleaved(runs, world.rounds)
    (rate, cores, spent), (rate_of_one, cores_of_one, spent_of_one) = measured["2"], measured["1"]
    yield Line("cells: two workers on two, and one on one", rate, "events/s", rate_of_one, "≥ 1.5")
    yield Line("  cores that they and their servers keep busy", cores, "cores", cores_of_one, f"of {os.cpu_count()}")
    yield Line("  CPU of an event", spent, "µs", spent_of_one)


def _drain_all(world: World, cells: int, entries: Entries) -> Sequence[float]:
    """A worker process for each cell, from the moment at which all are ready: events a second, the cores that workers,
    Postgres and Valkey keep busy, the CPU of an event in microseconds."""
    with installed(world, cells) as installation, ExitStack() as stack:
        _push(installation, entries)
        workers = [stack.enter_context(_worker(installation, number)) for number in range(cells)]
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == b"ready\n"
        backend, valkey = installation.home.info.backend_pid, CpuMeter({"": find_redis_pid(installation.redis)})
        before, began = read_server_seconds(backend), time.perf_counter()
        for worker in workers:
            assert worker.stdin
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        spent = sum(float(worker.stdout.readline()) for worker in workers if worker.stdout)
        seconds = time.perf_counter() - began
        spent += read_server_seconds(backend) - before + sum(valkey.seconds())
        assert [worker.wait() for worker in workers] == [0] * cells
        return [SCALED_EVENTS / seconds, spent / seconds, spent / SCALED_EVENTS * 1e6]


def _worker(installation: Cells, number: int) -> "subprocess.Popen[bytes]":
    settings = installation.settings
    argv = [settings.database_url or "", settings.redis_url or "", str(settings.cells), str(number)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.drain", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _costs(world: World, batch: int) -> Iterator[Line]:
    """An event's way through doors and workers."""
    load = make_load(world, EVENTS[batch] // batch, batch)
    runs: dict[str, Callable[[], Sequence[float]]] = {}
    for name, cells in COUNTS.items():
        runs[f"door {name}"] = partial(_accept, world, cells, load)
        runs[f"ingest {name}"] = partial(_store, world, cells, _pack(EVENTS[batch], batch, cells))
    measured = interleaved(runs, world.rounds)
    one, several = ([*measured[f"door {name}"], *measured[f"ingest {name}"]] for name in COUNTS)
    title = f"cells: CPU of an event through {CELLS} and one, {'batches' if batch > 1 else 'singles'}"
    yield Line(title, sum(several), "µs", sum(one), TARGETS[batch])
    parts = ("door", "Valkey at the door", "worker", "Postgres", "Valkey at the worker")
    for part, spent, before in zip(parts, several, one, strict=True):
        yield Line(f"  {part}", spent, "µs", before)


def _accept(world: World, cells: int, load: Load) -> Sequence[float]:
    """CPU of a door and of Valkey for an event, while all connections are busy."""
    with installed(world, cells) as installation:
        key = keys.create(installation.home, installation.redis, "default").secret
        with serving(world, installation.environment) as (port, pid):
            run_wrk(port, "/api/v1/track", key, load, seconds=1)
            before = _count_accepted(installation)
            meter = CpuMeter({"door": pid, "Valkey": find_redis_pid(installation.redis)})
            run_wrk(port, "/api/v1/track", key, load, seconds=1)
            events = _count_accepted(installation) - before
            return [seconds / events * 1e6 for seconds in meter.seconds()]


def _count_accepted(installation: Cells) -> int:
    lanes = [lane for cell in installation.settings.all_cells for lane in lanes_of(cell).values()]
    return sum(int(installation.redis.hget(lane.ledger, "accepted") or 0) for lane in lanes)


def _store(world: World, cells: int, entries: Entries) -> Sequence[float]:
    """CPU of a worker, its Postgres backends and Valkey for an event."""
    with installed(world, cells) as installation:
        _push(installation, {number: part[:1] for number, part in entries.items()})
        for place in installation.places:  # the first time, statements are planned
            ingest.drain(place, LIVE)
        entries = {number: part[1:] for number, part in entries.items()}
        _push(installation, entries)
        left = events = sum(events for part in entries.values() for events, _ in part)
        backends = [place.connection().info.backend_pid for place in installation.places]
        meters = [CpuMeter({"": pid}) for pid in (os.getpid(), *backends, find_redis_pid(installation.redis))]
        while left:
            done = sum(sum(ingest.drain(place, LIVE)) for place in installation.places)
            assert done, "the buffers are empty, and not all of their events were stored"
            left -= done
        worker, *postgres, valkey = (meter.seconds()[0] / events * 1e6 for meter in meters)
        return [worker, sum(postgres), valkey]


def _pack(events: int, batch: int, cells: int) -> Entries:
    """The entries that busy doors write: requests that wait together share them, cell by cell."""
    now_us = time.time_ns() // 1000
    entries: dict[int, list[tuple[int, bytes]]] = {number: [] for number in range(cells)}
    bodies = stream.bodies(stream.events(events), batch)
    for start in range(0, len(bodies), CONNECTIONS):
        group = bodies[start : start + CONNECTIONS]
        waiting: dict[int, list[tuple[int, bytes]]] = {}
        for body in group:
            for number, part in split_events(1, body, (), cells).items():
                waiting.setdefault(number, []).append((part.events, part.body))
        for number, parts in waiting.items():
            entries[number] += (_encode(entry, now_us) for entry in _share(parts))
    return entries


def _share(parts: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Parts of requests that go into one entry, as the writer packs them."""
    entry: list[tuple[int, bytes]] = []
    for part in parts:
        if entry and sum(events for events, _ in entry) + part[0] > ENTRY_EVENTS:
            yield entry
            entry = []
        entry.append(part)
    yield entry


def _encode(parts: Sequence[tuple[int, bytes]], now_us: int) -> tuple[int, bytes]:
    requests = [Request(1, now_us, body) for _, body in parts]
    return sum(events for events, _ in parts), encode_entry(Entry(os.urandom(12), requests))


def _push(installation: Cells, entries: Entries) -> None:
    with installation.redis.pipeline(transaction=False) as pipeline:
        for cell in installation.settings.all_cells:
            lane = lanes_of(cell)[LIVE.name]
            for events, entry in entries[cell.number or 0]:
                pipeline.xadd(lane.stream, {"n": events, "entry": entry})
                pipeline.hincrby(lane.ledger, "accepted", events)
        pipeline.execute()


def _rescoring(world: World) -> Line:
    rows = scoring.list_rows(time.time())
    with ExitStack() as stack:
        runs = {}
        for name, cells in COUNTS.items():
            template = stack.enter_context(_filled(world, cells, lambda connection: scoring.fill(connection, rows)))
            runs[name] = partial(_rescore, world, cells, template)
        measured = interleaved(runs, world.rounds)
    return Line(f"cells: CPU of a score in {CELLS} and one", measured["several"][0], "µs", measured["one"][0], "≤ 1.2")


@contextmanager
def _filled(world: World, cells: int, fill: Callable[[Connection], None], counts: bool = False) -> Iterator[str]:
    """The name of a database with the customers of each cell."""
    with installed(world, cells, name=f"bench_filled_{cells}") as installation:
        for place in installation.places:
            place.connection().execute("SELECT setseed(0.5)")  # the customers of one cell, divided
            fill(place.connection())
            keep_own(place)
            if counts:
                fill_totals(place.connection())
            place.connection().execute("VACUUM ANALYZE")
        installation.disconnect()
        yield f"bench_filled_{cells}"


def _rescore(world: World, cells: int, template: str) -> Sequence[float]:
    with installed(world, cells, template) as installation:
        backends = [place.connection().info.backend_pid for place in installation.places]
        meter = CpuMeter({str(pid): pid for pid in (os.getpid(), *backends)})
        scored = 0
        for place in installation.places:
            while batch := rescore.rescore_due(place):
                scored += batch
        assert scored == scoring.CUSTOMERS
        return [sum(meter.seconds()) / scored * 1e6]


def fill_reading(connection: Connection) -> None:
    fill_year(connection, SHORT)


def _reading(world: World) -> Line:
    with ExitStack() as stack:
        runs = {}
        for name, cells in COUNTS.items():
            template = stack.enter_context(_filled(world, cells, fill_reading, counts=True))
            runs[name] = partial(_read, world, cells, template)
        measured = interleaved(runs, world.rounds)
    return Line(
        f"cells: CPU of an answer from {CELLS} and one", measured["several"][0], "ms", measured["one"][0], "≤ 1.2"
    )


def _read(world: World, cells: int, template: str) -> Sequence[float]:
    """CPU of a web process and of Postgres for an answer."""
    asked = [path for _, path in routes(SHORT)][::READ_ROUTES]
    with installed(world, cells, template) as installation:
        key = keys.create(installation.home, installation.redis, "default").secret
        with (
            serving(world, installation.environment) as (port, pid),
            closing(HTTPConnection("127.0.0.1", port)) as client,
        ):
            _ask_all(client, key, asked)  # the first time, connections are opened
            before, meter = read_server_seconds(installation.home.info.backend_pid), CpuMeter({"door": pid})
            for _ in range(READ_TIMES):
                _ask_all(client, key, asked)
            postgres = read_server_seconds(installation.home.info.backend_pid) - before
            return [(meter.seconds()[0] + postgres) / len(asked) / READ_TIMES * 1000]


def _ask_all(client: HTTPConnection, key: str, paths: Sequence[Path]) -> None:
    chance = random.Random(1)
    for path in paths:
        client.request("GET", "/api/v1" + path(chance), headers={"X-API-Key": key})
        answer = client.getresponse()
        body = answer.read()
        assert answer.status == HTTPStatus.OK, body
