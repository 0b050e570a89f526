"""Customers a second: scoring alone, and from Postgres and back."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from scoring.rollup import DAY, Rollup, Row
from scoring.score import score
from tests.bench import stream
from tests.bench.measure import Line, interleaved, per_second
from tests.bench.world import World
from workers import rescore
from workers.store import Connection, connect
from workers.wire import customer_id

CUSTOMERS = stream.CUSTOMERS
DAYS = 60
ACTIVE_SHARE = 0.4
FULL = "bench_rollup"


def run(world: World) -> list[Line]:
    """Both, over the same customers."""
    now = time.time()
    rows = list(_rows(now))
    rollups = [_rollup(rows, first) for first in range(0, CUSTOMERS, rescore.BATCH_CUSTOMERS)]
    with world.database(name=FULL) as url:
        with connect(url) as connection:
            _fill(connection, rows)
        runs = {"memory": partial(_memory, rollups, now), "postgres": partial(_postgres, world)}
        found = interleaved(runs, world.rounds)
    return [
        Line(
            f"rescore: scoring alone, {len(rows) // CUSTOMERS} rows each",
            found["memory"][0],
            "customers/s",
            None,
            "goal 20,000",
        ),
        Line("rescore: from Postgres and back", found["postgres"][0], "customers/s", None, "goal 5,000"),
    ]


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


def _rows(now: float) -> Iterator[Row]:
    """Two months of every customer: logins and features on some of the days."""
    chance = random.Random(1)
    for customer in range(CUSTOMERS):
        plan = stream.PLANS[customer % len(stream.PLANS)]
        quiet = chance.choice((0, 0, 0, 5, 20))  # days since the last activity
        for ago in range(quiet, DAYS):
            if chance.random() < ACTIVE_SHARE:
                day = int(now // DAY) - 1 - ago
                at = (day + chance.random()) * DAY
                yield customer, day, "login", "", chance.randint(1, 3), 0.0, at, plan
                yield customer, day, "feature_used", chance.choice(stream.FEATURES), chance.randint(1, 9), 0.0, at, plan


def _rollup(rows: list[Row], first: int) -> Rollup:
    ours = range(first, first + rescore.BATCH_CUSTOMERS)
    return Rollup.from_rows(len(ours), [(row[0] - first, *row[1:]) for row in rows if row[0] in ours])


def _fill(connection: Connection, rows: list[Row]) -> None:
    ids = [customer_id(1, stream.email(number)) for number in range(CUSTOMERS)]
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
