"""Customers a second: scoring alone, and from Postgres and back."""

import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from statistics import median

from scoring.rollup import DAY, Rollup, Row
from scoring.score import score
from tests.bench import stream
from tests.bench.measure import Line, interleaved, per_second
from tests.bench.world import World
from workers.buffer.entries import hash_customer
from workers.risk import rescore
from workers.store import Connection, connect

CUSTOMERS = stream.CUSTOMERS
DAYS = 60
ACTIVE_SHARE = 0.4
FULL = "bench_rollup"
ROUNDS_OF_ONE = 50


def run(world: World) -> list[Line]:
    """Both, over the same customers."""
    now = time.time()
    rows = list_rows(now)
    rollups = [_rollup(rows, first) for first in range(0, CUSTOMERS, rescore.BATCH_CUSTOMERS)]
    with world.database(name=FULL) as url:
        with connect(url) as connection:
            fill(connection, rows)
        runs = {"memory": partial(_memory, rollups, now), "postgres": partial(_postgres, world)}
        found = interleaved(runs, world.rounds)
        few, many = interleaved({"sizes": partial(_sizes, world)}, world.rounds)["sizes"]
    return [
        Line(
            f"rescore: scoring alone, {len(rows) // CUSTOMERS} rows each",
            found["memory"][0],
            "customers/s",
            None,
            "goal 20,000",
        ),
        Line("rescore: from Postgres and back", found["postgres"][0], "customers/s", None, "goal 5,000"),
        Line("rescore: one customer of a million events, and of ten", many, "ms", few, "at most 1.5"),
    ]


def fill_customers(url: str) -> None:
    """Fill a database with the customers of this benchmark, all of them due."""
    with connect(url) as connection:
        fill(connection, list_rows(time.time()))


def _memory(rollups: list[Rollup], now: float) -> list[float]:
    return per_second(CUSTOMERS, lambda: [score(rollup, now) for rollup in rollups])


def _postgres(world: World) -> list[float]:
    with world.database(FULL) as url, world.process(url) as process:
        process.connection()

        def work() -> None:
            scored = 0
            while batch := rescore.rescore_due(process):
                scored += batch
            assert scored == CUSTOMERS

        return per_second(CUSTOMERS, work)


def _sizes(world: World) -> list[float]:
    """Milliseconds for one customer of ten events, and for one of a million in three years: medians, in turn."""
    ids = [hash_customer(1, name) for name in ("ten@example.com", "million@example.com")]
    now = time.time()
    took: tuple[list[float], list[float]] = ([], [])
    with world.database() as url, world.process(url) as process:
        connection = process.connection()
        _add(connection, ids[0], "ten@example.com", ((ago, "login", "", 1) for ago in range(10)), now)
        _add(connection, ids[1], "million@example.com", _million(), now)
        connection.execute("VACUUM ANALYZE")
        for _ in range(ROUNDS_OF_ONE):
            for id_, times in zip(ids, took, strict=True):
                connection.execute("UPDATE customers SET rescore_at = now() WHERE customer_id = %s", [id_])
                start = time.perf_counter()
                assert rescore.rescore_due(process) == 1
                times.append((time.perf_counter() - start) * 1000)
    return [median(times) for times in took]


def _million() -> Iterator[tuple[int, str, str, int]]:
    """(days ago, event, detail, n): logins and three features on every day of three years."""
    for ago in range(3 * 365):
        yield ago, "login", "", 229
        yield from ((ago, "feature_used", feature, 229) for feature in stream.FEATURES[:3])


def _add(connection: Connection, id_: str, email: str, rows: Iterable[tuple[int, str, str, int]], now: float) -> None:
    rows = list(rows)
    connection.execute(
        """
        INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
        VALUES (%s, 1, %s, now() - %s * interval '1 day', now(), 'infinity')
        """,
        [id_, email, max(row[0] for row in rows)],
    )
    with connection.cursor() as cursor, cursor.copy("COPY customer_days FROM STDIN") as copy:
        for ago, event, detail, n in rows:
            moment = datetime.fromtimestamp(now - ago * DAY, UTC)
            copy.write_row((id_, moment.date(), event, detail, n, 0.0, moment, "pro"))


def list_rows(now: float) -> list[Row]:
    """Returns two months of every customer."""
    return list(_rows(now))


def _rows(now: float) -> Iterator[Row]:
    """Two months of every customer: logins and features on some of the days."""
    chance = random.Random(1)
    for customer in range(CUSTOMERS):
        plan = stream.PLANS[customer % len(stream.PLANS)]
        quiet = chance.choice((0, 0, 0, 5, 20))  # days since the last activity
        for ago in reversed(range(quiet, DAYS)):  # as the primary key has them
            if chance.random() < ACTIVE_SHARE:
                day = int(now // DAY) - 1 - ago
                at = (day + chance.random()) * DAY
                yield customer, day, "login", "", chance.randint(1, 3), 0.0, at, plan
                yield customer, day, "feature_used", chance.choice(stream.FEATURES), chance.randint(1, 9), 0.0, at, plan


def _rollup(rows: list[Row], first: int) -> Rollup:
    ours = range(first, first + rescore.BATCH_CUSTOMERS)
    return Rollup.from_rows(len(ours), [(row[0] - first, *row[1:]) for row in rows if row[0] in ours])


def fill(connection: Connection, rows: list[Row]) -> None:
    """Write the customers of these rows, and their days."""
    ids = [hash_customer(1, stream.email(number)) for number in range(CUSTOMERS)]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
            VALUES (%s, 1, %s, now() - interval '60 days', now(), now())
            """,
            [(id_, stream.email(number)) for number, id_ in enumerate(ids)],
        )
        with cursor.copy(
            "COPY customer_days (customer_id, day, event, detail, n, value, last_at, plan) FROM STDIN"
        ) as copy:
            for customer, _, event, detail, n, value, at, plan in rows:
                moment = datetime.fromtimestamp(at, UTC)
                copy.write_row((ids[customer], moment.date(), event, detail, n, value, moment, plan))
    connection.execute("VACUUM ANALYZE")
