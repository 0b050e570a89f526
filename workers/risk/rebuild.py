"""Risks as of past dates: when history arrives, what the risk would have been is computed week by week.

Ingest notes who got an event older than a day, and the earliest such moment. Once the history lane is empty its workers
rebuild: a point every Monday from then on, up to the first score that was really given, which stands. Nothing of this
is announced, and it isn't what calibration is measured by: it has a table of its own.
"""

import time
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from scoring.pauses import Pause
from scoring.rollup import DAY, Floats
from scoring.score import risks_at
from scoring.states import STATES
from workers import tickets
from workers.accounts.serving import Served
from workers.buffer.lanes import HISTORY
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.risk.days import read_rollup
from workers.risk.rollups import outages_of
from workers.store import Connection, sql
from workers.upkeep import totals

BATCH_CUSTOMERS = 50
BUDGET_SECONDS = 5.0
WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-05
MOST_POINTS = 104  # of a customer: two years
MOST_ROWS = 2_000_000  # of the rollup, times points, for a customer


class Rebuild(NamedTuple):
    """A customer whose risk is to be rebuilt; times in epoch seconds. No account: the customer is gone."""

    customer_id: str
    account_id: int | None
    since: float
    until: float


def call(process: Process) -> None:
    """A job where history has arrived and no more of it waits: a duty of the clock."""
    if (
        pending(process)
        and not process.redis.xlen(HISTORY.stream)
        and not tickets.count_waiting(process.redis, HISTORY.queue)
    ):
        tickets.enqueue(process.redis, HISTORY.queue, "workers.jobs.rebuild", "rebuild")


def pending(process: Process) -> bool:
    """Whether history has come in whose past is not rebuilt yet."""
    row = process.connection().execute(sql("any_rebuild")).fetchone()
    return bool(row and row[0])


def drain(process: Process) -> None:
    """Rebuild until nobody is left, the budget is spent or events wait."""
    until = time.monotonic() + BUDGET_SECONDS
    while not process.stopping.is_set() and time.monotonic() < until and not process.redis.xlen(HISTORY.stream):
        if not retry_while_unavailable(process, lambda: rebuild_some(process)):
            break
        process.heartbeat.progress()


def rebuild_some(process: Process) -> int:
    """Rebuild up to BATCH_CUSTOMERS customers, in one transaction. Returns how many."""
    connection = process.connection()
    with connection.transaction():
        taken = [Rebuild(*row) for row in connection.execute(sql("take_rebuilds"), {"limit": BATCH_CUSTOMERS})]
        ids = {"customer_ids": [one.customer_id for one in taken]}
        there = sorted((one for one in taken if one.account_id is not None), key=attrgetter("account_id"))
        accounts = [(account_id, list(some)) for account_id, some in groupby(there, attrgetter("account_id"))]
        for account_id, some in accounts:
            totals.move_risks(connection, account_id, [one.customer_id for one in some], -1)
        connection.execute(sql("forget_rebuilt"), ids)
        for account_id, some in accounts:
            pauses = outages_of(connection, account_id)
            _rebuild(process, connection, some, process.serving.of(connection, account_id), pauses)
            totals.move_risks(connection, account_id, [one.customer_id for one in some], 1)
        connection.execute(sql("end_rebuilds"), ids)
    return len(taken)


def points(since: float, until: float, most: int = MOST_POINTS) -> Floats:
    """The Mondays from `since` to before `until`, the latest of them where there are too many."""
    first = MONDAY + np.ceil((since - MONDAY) / WEEK) * WEEK
    return np.arange(first, until, WEEK)[-most:]


def _rebuild(
    process: Process, connection: Connection, customers: Sequence[Rebuild], served: Served, pauses: Sequence[Pause]
) -> None:
    """Customers of one account."""
    levels, (model, horizon_days, meaning) = process.settings.levels, served
    rollup = read_rollup(connection, [one.customer_id for one in customers], meaning)
    rows = np.bincount(rollup.customer, minlength=len(customers))
    for number, one in enumerate(customers):
        instants = points(one.since, one.until, min(MOST_POINTS, MOST_ROWS // max(int(rows[number]), 1) + 1))
        probability, state = risks_at(rollup, np.full(len(instants), number), instants, horizon_days, model, pauses)
        columns = {
            "customer_id": [one.customer_id] * len(instants),
            "at": instants.tolist(),
            "probability": probability.tolist(),
            "level": [levels.name(each) for each in probability.tolist()],
            "state": [STATES[code] for code in state.tolist()],
        }
        connection.execute(sql("write_rebuilt"), {**columns, "model": model.version})
