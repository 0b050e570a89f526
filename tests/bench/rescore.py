"""Customers a second: scoring alone, and from Postgres and back."""

import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
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
ROUNDS_OF_ONE, WARMING_ROUNDS = 50, 10
TITLES = (
    "a million events",
    "twenty names on every day of a year",
    "nine of them features",
    "all of them features",
)


def run(world: World) -> list[Line]:
    """Both, over the same customers."""
    now = time.time()
    rows = list_rows(now)
    rollups = [_rollup(rows, first) for first in range(0, CUSTOMERS, rescore.BATCH_CUSTOMERS)]
    with world.database(name=FULL) as url:
        with connect(url) as connection:
            fill(connection, rows)
        runs = {"memory": partial(_memory, rollups, now), "postgres": partial(_postgres, world)}
        measured = interleaved(runs, world.rounds)
        sizes = interleaved({"sizes": partial(_sizes, world)}, world.rounds)["sizes"]
    few, *long = zip(sizes[::2], sizes[1::2], strict=True)
    return [
        Line(
            f"rescore: scoring alone, {len(rows) // CUSTOMERS} rows each",
            measured["memory"][0],
            "customers/s",
            None,
            "goal 20,000",
        ),
        Line("rescore: from Postgres and back", measured["postgres"][0], "customers/s", None, "goal 5,000"),
        *(
            line
            for title, (wall, cpu) in zip(TITLES, long, strict=True)
            for line in (
                Line(f"rescore: one customer of {title}, and of ten events", wall, "ms", few[0], "at most 1.5"),
                Line("  CPU", cpu, "ms", few[1], "at most 1.5"),
            )
        ),
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
    """Milliseconds on the clock, and of CPU, for one customer of ten events and for those of TITLES, in turn: medians
    of the clock, and means of the CPU time of this process and of its backend. The first scores, which keep earlier
    days for those that follow, are not measured."""
    now = time.time()
    histories = [[(ago, "login", "", 1) for ago in range(10)], list(_million()), list(_year())]
    histories += [list(_year(features)) for features in (9, 20)]
    emails = [f"customer-{number}@example.com" for number in range(len(histories))]
    ids = [hash_customer(1, email) for email in emails]
    took: list[list[float]] = [[] for _ in ids]
    spent = [0.0 for _ in ids]
    with world.database() as url, world.process(url) as process:
        connection = process.connection()
        for id_, email, history in zip(ids, emails, histories, strict=True):
            _add(connection, id_, email, history, now)
        connection.execute("VACUUM ANALYZE")
        for turn in range(ROUNDS_OF_ONE + WARMING_ROUNDS):
            for place, id_ in enumerate(ids):
                connection.execute("UPDATE customers SET rescore_at = now() WHERE customer_id = %s", [id_])
                cpu, start = _read_cpu(connection), time.perf_counter()
                assert rescore.rescore_due(process) == 1
                if turn >= WARMING_ROUNDS:
                    took[place].append((time.perf_counter() - start) * 1000)
                    spent[place] += _read_cpu(connection) - cpu
    figures = zip(map(median, took), (seconds / ROUNDS_OF_ONE * 1000 for seconds in spent), strict=True)
    return [figure for pair in figures for figure in pair]


def _read_cpu(connection: Connection) -> float:
    """CPU seconds of this process and of its backend so far, which /proc/…/stat counts in hundredths."""
    nanoseconds = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0]
    return time.process_time() + int(nanoseconds) / 1e9


def _year(features: int = 4) -> Iterator[tuple[int, str, str, int]]:
    """(days ago, event, detail, n): twenty names on every day of a year: a login (unless all are features), so many
    features, and names that mean nothing to a risk."""
    for ago in range(365):
        yield from ((ago, "feature_used", f"feature {number}", 3) for number in range(features))
        yield from ((ago, "login", "", 3) for _ in range(features < 20))
        yield from ((ago, f"event_{number}", "", 3) for number in range(19 - features))


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
