"""Events a second through one ingest worker, against a bare COPY of the same events into the same table."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import click
from redis import Redis

from api.up.embedded import poll
from tests.bench import stream
from tests.bench.cpu import CpuMeter, meter_of
from tests.bench.measure import Line, interleaved, per_second
from tests.bench.world import EMPTY, World
from workers import __main__ as processes
from workers.buffer.entries import Entry, Request, decode_entry, encode_entry, hash_customer
from workers.buffer.lanes import LIVE
from workers.buffer.rows import EPOCH, MICROSECOND, make_rows
from workers.buffer.stream import ENTRY_EVENTS
from workers.ingest import ingest
from workers.store import Connection, connect

EVENTS = 200_000
COPY_EVENTS = 5_000
STORED_CUSTOMERS = 50_000
STORED_EACH = 100
FULL = "bench_full"
START_SECONDS = 20.0

Beside = Callable[[World, str], AbstractContextManager[None]]
STORED = "customer_id, occurred_at, event_key, event, properties, received_at"
Stored = tuple[str, str, int, str, str | None, str]  # a row of the table events


def run(world: World) -> list[Line]:
    """Ours and the bare COPY; if it may take long, ours beside millions of events as well."""
    entries = _prepare()
    lines = _against_copy(world, entries)
    return [*lines, _when_full(world, entries)] if world.long else lines


def _prepare() -> list[bytes]:
    """Returns the entries to be stored."""
    entries = make_entries(stream.events(EVENTS))
    work_as_a_worker()
    return entries


def work_as_a_worker() -> None:
    """Tune this process as a worker is; but waiting for more is no work."""
    ingest.LINGER_SECONDS = 0.001
    tune_interpreter()


def tune_interpreter() -> None:
    """Tune this process as the workers of its checkout are tuned; older ones call it `tune_collection`."""
    tune: Callable[[], None] | None = getattr(processes, "tune_interpreter", None)
    tune = tune or getattr(processes, "tune_collection", None)
    if tune:
        tune()


def _against_copy(world: World, entries: Sequence[bytes]) -> list[Line]:
    rows = _stored(entries)
    runs = {"ours": partial(_ours, world, entries), "copy": partial(_copy, world, rows)}
    measured = interleaved(runs, world.rounds)
    rate, *cpu = measured["ours"]
    parts = zip(("worker", "Postgres", "Valkey"), cpu, strict=True)
    return [
        Line("ingest, and a bare COPY", rate, "events/s", measured["copy"][0], "≥ 0.4, goal 0.45"),
        Line("  CPU", sum(cpu), "µs/event", measured["copy"][1]),
        *(Line(f"  CPU of {part}", spent, "µs/event") for part, spent in parts),
    ]


def run_beside_totals(world: World) -> Line:
    """Ours while another process keeps the totals, and without it."""
    entries = _prepare()
    runs = {"with": partial(_ours, world, entries, beside=_totals), "without": partial(_ours, world, entries)}
    measured = interleaved(runs, world.rounds)
    return Line(
        "ingest, with totals kept and without", measured["with"][0], "events/s", measured["without"][0], "≥ 0.95"
    )


@contextmanager
def _totals(world: World, url: str) -> Iterator[None]:
    """Another process that keeps the totals."""
    from workers.upkeep.snapshots import read_last  # older commits have it elsewhere

    child = subprocess.Popen([sys.executable, "-m", "tests.bench.totals", url, world.servers.redis_url])
    try:
        with connect(url) as connection:
            if not poll(lambda: read_last(connection) is not None, START_SECONDS):
                raise click.ClickException("nobody keeps totals")
        yield
    finally:
        child.terminate()
        child.wait()


def _when_full(world: World, entries: Sequence[bytes]) -> Line:
    with world.database(name=FULL) as url:
        with connect(url) as connection:
            _fill(connection)
        runs = {"full": partial(_ours, world, entries, FULL), "empty": partial(_ours, world, entries)}
        measured = interleaved(runs, world.rounds)
    title = f"ingest at {STORED_CUSTOMERS * STORED_EACH // 1_000_000} million events, and at none"
    return Line(title, measured["full"][0], "events/s", measured["empty"][0], "goal 0.8")


def _ours(
    world: World, entries: Sequence[bytes], template: str = EMPTY, beside: Beside = lambda world, url: nullcontext()
) -> list[float]:
    with world.database(template) as url, world.process(url) as process, beside(world, url):
        push(process.redis, entries)
        meter = meter_of(process)

        def work() -> None:
            left = EVENTS
            while left:
                done = sum(ingest.drain(process, LIVE))
                assert done, "the stream is empty, and not all of its events were stored"
                left -= done

        return per_second(EVENTS, work) + _microseconds(meter, EVENTS)


def _copy(world: World, rows: Sequence[Stored]) -> list[float]:
    with world.database() as url, connect(url) as connection:
        connection.execute("CREATE TABLE bare (LIKE events INCLUDING ALL)")

        def work() -> None:
            for at in range(0, len(rows), COPY_EVENTS):
                with (
                    connection.transaction(),
                    connection.cursor() as cursor,
                    cursor.copy(f"COPY bare ({STORED}) FROM STDIN") as copy,
                ):
                    for row in rows[at : at + COPY_EVENTS]:
                        copy.write_row(row)

        meter = CpuMeter({"client": os.getpid(), "Postgres": connection.info.backend_pid})
        rate = per_second(len(rows), work)
        return [*rate, sum(_microseconds(meter, len(rows)))]


def _microseconds(meter: CpuMeter, events: int) -> list[float]:
    return [seconds / events * 1e6 for seconds in meter.seconds()]


def make_entries(events: list[dict[str, object]]) -> list[bytes]:
    """The stream as the door would have written it: by turns a batch of 100, and 100 requests of one event."""
    entries, now_us = [], time.time_ns() // 1000
    for number, at in enumerate(range(0, len(events), ENTRY_EVENTS)):
        sent = stream.bodies(events[at : at + ENTRY_EVENTS], ENTRY_EVENTS if number % 2 else 1)
        requests = [Request(1, now_us + at, body) for body in sent]
        entries.append(encode_entry(Entry(number.to_bytes(12, "big"), requests)))
    return entries


def push(redis: Redis, entries: Sequence[bytes]) -> None:
    with redis.pipeline(transaction=False) as pipeline:
        for entry in entries:
            pipeline.xadd(LIVE.stream, {"n": ENTRY_EVENTS, "entry": entry})
        pipeline.hincrby(LIVE.ledger, "accepted", ENTRY_EVENTS * len(entries))
        pipeline.execute()


def _stored(entries: Sequence[bytes]) -> list[Stored]:
    """The same events as rows of the table, ready to be copied."""
    return [
        (
            row.customer_id,
            _text(row.occurred_us),
            row.event_key,
            row.content.event,
            row.content.properties,
            _text(row.received_us),
        )
        for entry in entries
        for row in make_rows(decode_entry(entry))
    ]


def _text(microseconds: int) -> str:
    return (EPOCH + microseconds * MICROSECOND).isoformat()


def _fill(connection: Connection) -> None:
    """Store months of events, those of the stream's customers among them."""
    emails = [stream.email(number) for number in range(STORED_CUSTOMERS)]
    parameters = {"emails": emails, "ids": [hash_customer(1, email) for email in emails], "each": STORED_EACH}
    connection.execute("SET statement_timeout = 0")
    connection.execute(
        """
        INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
        SELECT id, 1, email, now() - interval '200 days', now() - interval '8 days', now()
        FROM unnest(%(ids)s::uuid[], %(emails)s::text[]) AS given (id, email)
        """,
        parameters,
    )
    connection.execute(
        """
        INSERT INTO events (customer_id, occurred_at, event_key, event, properties, received_at)
        SELECT id, at, number, 'feature_used', '{"feature": "exports", "plan": "pro"}', at
        FROM generate_series(1, %(each)s) AS number, unnest(%(ids)s::uuid[]) AS id,
             LATERAL (SELECT now() - interval '8 days' - (random() + 0 * number) * interval '190 days' AS at)
        """,
        parameters,
    )
    connection.execute(
        """
        INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at, plan)
        SELECT customer_id, occurred_at::date, event, 'exports', count(*), 0, max(occurred_at), 'pro'
        FROM events GROUP BY customer_id, occurred_at::date, event
        """
    )
    connection.execute("VACUUM ANALYZE")
