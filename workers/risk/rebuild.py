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

from scoring.levels import LevelBounds
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats
from scoring.score import risks_at
from scoring.states import STATES
from workers import tickets
from workers.accounts import track_records
from workers.accounts.serving import Served
from workers.buffer.lanes import HISTORY
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.risk.days import read_rollup
from workers.store import Connection, only_row, sql
from workers.tracking.outages import outages_of, pauses_of
from workers.upkeep import level_moves

BATCH_CUSTOMERS = 50
BUDGET_SECONDS = 5.0
WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-05
MOST_POINTS = 104  # of a customer: two years
MOST_ROWS = 2_000_000  # of the rollup, times points, for a customer


class Rebuild(NamedTuple):
    """A customer whose risk is to be rebuilt; times in epoch seconds. No account: it was erased."""

    customer_id: str
    account_id: int | None
    since: float
    until: float


def issue_job(process: Process) -> None:
    """Issue a job if history has arrived and no more of it waits: a duty of the clock."""
    if (
        is_pending(process.connection())
        and not process.redis.xlen(process.lanes[HISTORY.name].stream)
        and not tickets.count_waiting(process.home_redis, HISTORY.queue)
    ):
        tickets.enqueue(process.home_redis, HISTORY.queue, tickets.REBUILD, "rebuild", process.cell.number)


def is_pending(connection: Connection) -> bool:
    """Returns True while history has come in whose past is not rebuilt yet."""
    (pending,) = only_row(connection.execute(sql("any_rebuild")))
    return bool(pending)


def drain(process: Process) -> None:
    """Rebuild until no customer is left, the budget is spent or events wait."""
    until = time.monotonic() + BUDGET_SECONDS
    stream = process.lanes[HISTORY.name].stream
    while not process.stopping.is_set() and time.monotonic() < until and not process.redis.xlen(stream):
        if not retry_while_unavailable(process, lambda: rebuild_batch(process)):
            break
        process.heartbeat.progress()


def rebuild_batch(process: Process) -> int:
    """Rebuild up to BATCH_CUSTOMERS customers, in one transaction. Returns how many."""
    connection, levels = process.connection(), process.settings.levels
    with connection.transaction():
        rebuilds = [Rebuild(*row) for row in connection.execute(sql("take_rebuilds"), {"limit": BATCH_CUSTOMERS})]
        ids = {"customer_ids": [rebuild.customer_id for rebuild in rebuilds]}
        present = sorted(
            (rebuild for rebuild in rebuilds if rebuild.account_id is not None), key=attrgetter("account_id")
        )
        accounts = [(account_id, list(group)) for account_id, group in groupby(present, attrgetter("account_id"))]
        for account_id, customers in accounts:
            level_moves.take_back_moves(connection, account_id, [customer.customer_id for customer in customers])
        connection.execute(sql("forget_rebuilt"), ids)
        for account_id, customers in accounts:
            pauses = pauses_of(outages_of(connection, account_id), time.time())
            _rebuild(connection, customers, process.serving.find(connection, account_id), pauses, levels)
            level_moves.count_moves(connection, account_id, [customer.customer_id for customer in customers])
        connection.execute(sql("end_rebuilds"), ids)
    for account_id, _ in accounts:
        track_records.request(connection, account_id)
    return len(rebuilds)


def list_mondays(since: float, until: float, most: int = MOST_POINTS) -> Floats:
    """The Mondays from `since` to before `until`, the latest of them where there are too many."""
    first = MONDAY + np.ceil((since - MONDAY) / WEEK) * WEEK
    return np.arange(first, until, WEEK)[-most:]


def _rebuild(
    connection: Connection, customers: Sequence[Rebuild], served: Served, pauses: Sequence[Pause], levels: LevelBounds
) -> None:
    """Customers of one account."""
    model, horizon_days, meaning, _ = served
    rollup = read_rollup(connection, [customer.customer_id for customer in customers], meaning)
    rows = np.bincount(rollup.customer, minlength=len(customers))
    for number, customer in enumerate(customers):
        most = min(MOST_POINTS, MOST_ROWS // max(int(rows[number]), 1) + 1)
        instants = list_mondays(customer.since, customer.until, most)
        probability, state = risks_at(rollup, np.full(len(instants), number), instants, horizon_days, model, pauses)
        columns = {
            "customer_id": [customer.customer_id] * len(instants),
            "at": instants.tolist(),
            "probability": probability.tolist(),
            "level": [levels.name(risk) for risk in probability.tolist()],
            "state": [STATES[code] for code in state.tolist()],
        }
        connection.execute(sql("write_rebuilt"), {**columns, "model": model.version})
