"""Customers that are due: rollup → score → row."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import psycopg
from rq.timeouts import BaseTimeoutException

from scoring.levels import LevelBounds
from workers.accounts import renewals
from workers.accounts.serving import Served
from workers.alerts import outbox
from workers.buffer.arrivals import find_arrivals
from workers.identities.profiles import apply_profiles
from workers.process import MOST_SCORED_AT_ONCE, Process
from workers.retry import retry_while_unavailable
from workers.risk import renewal
from workers.risk.causes import Change, DueCustomer, Terms, changes_of
from workers.risk.compute import compute_scores, write_scores
from workers.risk.renewal_state import Means
from workers.risk.rises import write_alerts
from workers.store import Connection, sql
from workers.tickets import clear_mark
from workers.upkeep import totals

log = logging.getLogger(__name__)

BATCH_CUSTOMERS = MOST_SCORED_AT_ONCE
MANY_ROWS = 300_000  # of the histories of a batch: some 30 MB
ACCOUNTS_AT_ONCE = 20  # accounts in a batch of customers due by an event
STATEMENT_TIMEOUT = "15s"
RELEASED_AT_ONCE = 10_000
TOO_MUCH = (psycopg.errors.QueryCanceled, psycopg.errors.OutOfMemory, psycopg.errors.ProgramLimitExceeded, MemoryError)
MOST_NEWS = 10_000
BUDGET_SECONDS = 5.0
LINGER_SECONDS = 0.25  # after the last one, look once more: a flood of events must not cost a job each


def drain(process: Process) -> int:
    """Rescore until no customer is due or the budget is spent. Returns how many customers were scored."""
    clear_mark(process.redis, "score", process.cell.prefix)
    until = time.monotonic() + BUDGET_SECONDS
    total, lingered, renewed = 0, False, None
    while not process.stopping.is_set() and time.monotonic() < until:
        rescore = rescore_due if total else _begin
        scored = retry_while_unavailable(process, partial(rescore, process))
        if scored is None:
            break
        process.heartbeat.progress()
        total += scored
        renewed = retry_while_unavailable(process, lambda: renewal.step(process.connection(), _means_of(process)))
        if scored == 0 and not renewed and lingered:
            break
        totals.drain(process)
        lingered = scored == 0 and not renewed
        if scored < process.scoring_pace.size // 2 and not renewed:  # the batch was not full
            process.stopping.wait(LINGER_SECONDS)
    totals.drain(process)
    if renewed:
        process.ask("score")  # the next ticket goes on
    return total


def _means_of(process: Process) -> Means:
    return Means(process.settings.levels, process.settings.horizon_days, process.redis, process.lanes)


def _begin(process: Process) -> int:
    """The first batch of a job."""
    outbox.note_alerting(process.connection())
    return rescore_due(process)


def release_provisional(process: Process) -> None:
    """Make customers due whose risk is provisional and whose history has arrived: a duty of the clock."""
    arrivals = find_arrivals(process.redis, lanes=process.lanes)
    if not arrivals.behind:
        parameters = {"arriving": list(arrivals.account_ids), "limit": RELEASED_AT_ONCE}
        process.connection().execute(sql("release_provisional"), parameters)


def watch_settings(process: Process) -> None:
    """Have customers scored anew if the levels or the horizon are set otherwise: a duty of the clock."""
    renewals.adopt_settings(process.connection(), process.serving.settings)


class ScoredBatch(NamedTuple):
    """A batch that was scored: the rows of its histories, and the deliveries of alerts that wait."""

    rows: int = 0
    waiting: int = 0


def rescore_due(process: Process) -> int:
    """Score customers that are due, in one transaction. Returns how many.

    What takes too much time or memory is tried again in halves. A customer who takes too much alone waits for a day.
    The next batch has half as many customers if these had many rows, else twice as many.
    """
    while True:
        due: list[DueCustomer] = []
        try:
            with process.connection().transaction():
                batch = _rescore_batch(process, due)
        except BaseTimeoutException:
            process.scoring_pace.slower()
            raise
        except TOO_MUCH as error:
            log.warning("a batch of scores takes too much: %s", type(error).__name__, extra={"customers": len(due)})
            if not process.scoring_pace.slower() and due:
                _postpone(process.connection(), due[0])
        else:
            (process.scoring_pace.slower if batch.rows > MANY_ROWS else process.scoring_pace.faster)()
            if batch.waiting:
                process.ask("deliver")
            return len(due)


def _rescore_batch(process: Process, due: list[DueCustomer]) -> ScoredBatch:
    """Take the customers that are due into `due`, and score them; within a transaction."""
    connection = process.connection()
    connection.execute(sql("begin_scoring"), {"timeout": STATEMENT_TIMEOUT})
    connection.execute(sql("take_news"), {"limit": MOST_NEWS, "rescore_seconds": process.settings.rescore_seconds})
    turns = {"limit": process.scoring_pace.size, "accounts": ACCOUNTS_AT_ONCE, "after": process.scored_account}
    due += map(DueCustomer._make, connection.execute(sql("take_due"), turns).fetchall())
    accounts = sorted({customer.account_id for customer in due})
    process.scored_account = due[0].turns_end or -1 if due else -1
    arrivals = find_arrivals(process.redis, accounts, process.lanes) if due else None
    levels, batch = process.settings.levels, ScoredBatch()
    for account_id in accounts:
        customers = [customer for customer in due if customer.account_id == account_id]
        served = process.serving.try_hold(connection, account_id)
        if served is None:  # its customers stay due
            due[:] = [customer for customer in due if customer.account_id != account_id]
            continue
        provisional = bool(arrivals and arrivals.hold(account_id))
        changes, rows = _rescore(connection, customers, served, levels, provisional)
        batch = ScoredBatch(batch.rows + rows, batch.waiting + write_alerts(connection, changes, levels))
    return batch


def _rescore(
    connection: Connection, due: Sequence[DueCustomer], served: Served, levels: LevelBounds, provisional: bool
) -> tuple[list[Change], int]:
    """Score customers of one account. Returns what changed, and the number of rows of their histories."""
    computed = compute_scores(connection, due, served, levels, keeps=True)
    terms = Terms(served.model.version, served.horizon_days, served.generation, computed.stale, provisional)
    changes: list[Change] = []
    for part in computed.parts:
        part_changes = changes_of([due[place] for place in part.places], terms, part.scores)
        write_scores(connection, terms, part_changes, part, served.model)
        changes += part_changes
    apply_profiles(connection, [customer.customer_id for customer in due])
    rows = len(computed.rollup.customer)
    log.info("rescored", extra={"customers": len(due), "rollup_rows": rows})
    return changes, rows


def _postpone(connection: Connection, customer: DueCustomer) -> None:
    log.error("a customer can't be scored; the next try is in a day", extra={"customer_id": customer.customer_id})
    connection.execute(sql("postpone_score"), {"customer_id": customer.customer_id})
