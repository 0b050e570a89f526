"""The cost of an event beside millions of stored ones: at few and at many, in turn, in processor time and on the clock.

A database of many is too large to be copied for each round. So each round stores events of its own into the same two.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from tests.bench import ingest, stream
from tests.bench.cpu import meter_of
from tests.bench.measure import Line, interleaved, per_second
from tests.bench.world import World
from workers.buffer.entries import hash_customer
from workers.buffer.lanes import LIVE
from workers.ingest import ingest as ingesting
from workers.store import Connection, connect

MILLION = 1_000_000
FEW, MANY, LONG_MANY = MILLION, 5 * MILLION, 50 * MILLION
EACH = 100  # events of a customer, on as many days
DAYS = [datetime.now(UTC).date() - timedelta(days=stream.DAYS + 2 + before) for before in range(EACH)]  # the last first
FILLED_TOGETHER = 10_000  # customers


def run(world: World) -> list[Line]:
    """An event at a million stored and at five; at fifty, if it may take long."""
    ingest.work_as_a_worker()
    many = LONG_MANY if world.long else MANY
    with ExitStack() as stack:
        few, full = (stack.enter_context(_filled(world, events)) for events in (FEW, many))
        rounds = iter(range(1000))
        measured = interleaved(
            {"few": lambda: _store(world, few, next(rounds)), "many": lambda: _store(world, full, next(rounds))},
            world.rounds,
        )
    title, sizes = "an event at {} million, and at {}", (many // MILLION, FEW // MILLION)
    (few_rate, few_cpu), (rate, cpu) = measured["few"], measured["many"]
    return [
        Line(title.format(*sizes) + ": CPU", cpu, "µs", few_cpu, "≤ 1.3"),
        Line("  time", 1e6 / rate, "µs", 1e6 / few_rate, "≤ 1.3"),
    ]


def _store(world: World, url: str, seed: int) -> list[float]:
    """Events a second, and their CPU time, worker and Postgres together."""
    entries = ingest.make_entries(stream.events(ingest.EVENTS, seed=1000 + seed))
    with connect(url) as connection:
        connection.execute("CHECKPOINT")
    with world.process(url) as process:
        ingest.push(process.redis, entries)
        meter = meter_of(process)

        def work() -> None:
            left = ingest.EVENTS
            while left:
                left -= sum(ingesting.drain(process, LIVE))

        rate = per_second(ingest.EVENTS, work)
        worker, postgres, _ = meter.seconds()
        return [*rate, (worker + postgres) / ingest.EVENTS * 1e6]


@contextmanager
def _filled(world: World, events: int) -> Iterator[str]:
    """Yields a database with so many events of the past, those of the stream's customers among them."""
    with world.database(name=f"filled_{events}") as url:
        with connect(url, statement_timeout="0", synchronous_commit="off") as connection:
            customers = events // EACH
            for first in range(0, customers, FILLED_TOGETHER):
                _fill(connection, range(first, min(first + FILLED_TOGETHER, customers)))
            connection.execute("VACUUM ANALYZE events, customers, customer_days")
        yield url


def _fill(connection: Connection, customers: range) -> None:
    """Copy customers and their events, as many of each on a day of its own."""
    ids = sorted((hash_customer(1, stream.email(number)), stream.email(number)) for number in customers)
    days = [(customer_id, day, f"{day} 12:00") for customer_id, _ in ids for day in reversed(DAYS)]
    first, last = f"{DAYS[-1]} 12:00", f"{DAYS[0]} 12:00"
    copies = {
        "customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, due_because)": (
            f"{customer_id}\t1\t{email}\t{first}\t{last}\t{last}\timport\n" for customer_id, email in ids
        ),
        "events (customer_id, occurred_at, event_key, event, properties, received_at)": (
            f'{customer_id}\t{at}\t0\tfeature_used\t{{"feature": "exports", "plan": "pro"}}\t{at}\n'
            for customer_id, _, at in days
        ),
        "customer_days (customer_id, day, event, detail, n, value, last_at, plan)": (
            f"{customer_id}\t{day}\tfeature_used\texports\t1\t0\t{at}\tpro\n" for customer_id, day, at in days
        ),
    }
    with connection.transaction(), connection.cursor() as cursor:
        for table, lines in copies.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                copy.write("".join(lines))
