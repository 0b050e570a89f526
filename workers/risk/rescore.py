"""Customers that are due: rollup → score → row."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from math import ceil
from typing import Any

import msgspec
import numpy as np
import psycopg
from rq.timeouts import BaseTimeoutException

from scoring.history import EVENT
from scoring.levels import Levels
from scoring.look_back import LOOK_BACK
from scoring.model import Model
from scoring.pauses import Pause, bridge
from scoring.rollup import DAY
from scoring.score import Scores, score
from workers.accounts.serving import Served
from workers.alerts import outbox
from workers.buffer.arrivals import find_arrivals
from workers.process import SCORED_AT_ONCE, Process
from workers.retry import retry_while_unavailable
from workers.risk.causes import Change, DueCustomer, Terms, changes_of
from workers.risk.days import Reach, read_rollup
from workers.risk.rises import write_alerts
from workers.store import Connection, sql
from workers.tickets import ask, clear_mark
from workers.tracking.outages import outages_of, pauses_of
from workers.upkeep import totals

log = logging.getLogger(__name__)

BATCH_CUSTOMERS = SCORED_AT_ONCE
ACCOUNTS_AT_ONCE = 20  # whose customers share a batch of those who are due by an event
STATEMENT_TIMEOUT = "15s"
RELEASED_AT_ONCE = 10_000
TOO_MUCH = (psycopg.errors.QueryCanceled, psycopg.errors.OutOfMemory, psycopg.errors.ProgramLimitExceeded, MemoryError)
MOST_NEWS = 10_000
BUDGET_SECONDS = 5.0
LINGER_SECONDS = 0.25  # after the last one, look once more: a flood of events must not cost a job each


def drain(process: Process) -> int:
    """Rescore until no customer is due or the budget is spent. Returns how many customers were scored."""
    clear_mark(process.redis, "score")
    until = time.monotonic() + BUDGET_SECONDS
    total, lingered = 0, False
    while not process.stopping.is_set() and time.monotonic() < until:
        rescore = rescore_due if total else _begin
        scored = retry_while_unavailable(process, partial(rescore, process))
        if scored is None:
            break
        process.heartbeat.progress()
        total += scored
        if scored == 0 and lingered:
            break
        totals.drain(process)
        lingered = scored == 0
        if scored < BATCH_CUSTOMERS:
            process.stopping.wait(LINGER_SECONDS)
    totals.drain(process)
    return total


def _begin(process: Process) -> int:
    """The first batch of a job."""
    outbox.note_alerting(process.connection())
    return rescore_due(process)


def release_provisional(process: Process) -> None:
    """Make customers due whose risk is provisional and whose history has arrived: a duty of the clock."""
    arrivals = find_arrivals(process.redis)
    if not arrivals.behind:
        parameters = {"arriving": list(arrivals.account_ids), "limit": RELEASED_AT_ONCE}
        process.connection().execute(sql("release_provisional"), parameters)


def rescore_due(process: Process) -> int:
    """Score customers that are due, in one transaction. Returns how many.

    What takes too much time or memory is tried again in halves. A customer who takes too much alone waits for a day.
    """
    while True:
        due: list[DueCustomer] = []
        try:
            with process.connection().transaction():
                waiting = _rescore_batch(process, due)
        except BaseTimeoutException:
            process.scoring_pace.slower()
            raise
        except TOO_MUCH as error:
            log.warning("a batch of scores takes too much: %s", type(error).__name__, extra={"customers": len(due)})
            if not process.scoring_pace.slower() and due:
                _postpone(process.connection(), due[0])
        else:
            process.scoring_pace.faster()
            if waiting:
                ask(process.redis, "deliver")
            return len(due)


def _rescore_batch(process: Process, due: list[DueCustomer]) -> int:
    """Take the customers that are due into `due`, and score them; within a transaction. Returns how many deliveries of
    alerts wait."""
    connection = process.connection()
    connection.execute(sql("limit_scoring"), {"timeout": STATEMENT_TIMEOUT})
    connection.execute(sql("take_news"), {"limit": MOST_NEWS, "rescore_seconds": process.settings.rescore_seconds})
    turns = {"limit": process.scoring_pace.size, "accounts": ACCOUNTS_AT_ONCE, "after": process.scored_account}
    due += [DueCustomer(*row) for row in connection.execute(sql("take_due"), turns)]
    accounts = sorted({customer.account_id for customer in due})
    process.scored_account = due[0].turns_end or -1 if due else -1
    arrivals = find_arrivals(process.redis, accounts) if due else None
    levels, waiting = process.settings.levels, 0
    for account_id in accounts:
        customers = [customer for customer in due if customer.account_id == account_id]
        served = process.serving.hold(connection, account_id)
        provisional = bool(arrivals and arrivals.hold(account_id))
        waiting += write_alerts(connection, _rescore(connection, customers, served, levels, provisional), levels)
    return waiting


def _rescore(
    connection: Connection, due: Sequence[DueCustomer], served: Served, levels: Levels, provisional: bool
) -> list[Change]:
    """Score customers of one account. Returns what changed."""
    now, (model, horizon_days, meaning, generation) = due[0].now, served
    ids = [customer.customer_id for customer in due]
    outages = outages_of(connection, due[0].account_id)
    pauses, stale = pauses_of(outages, now), any(outage.lasts for outage in outages)
    terms = Terms(model.version, horizon_days, generation, stale, provisional)
    reach = reach_of(min(customer.first_seen for customer in due), now, model, pauses)
    rollup, instants = bridge(read_rollup(connection, ids, meaning, reach), pauses, now)
    changes: list[Change] = []
    for instant in sorted(set(instants.tolist())):  # as a rule this is now, for all
        chosen = np.flatnonzero(instants == instant)
        known = rollup if len(chosen) == len(ids) else rollup.at(chosen, instants[chosen])
        scores = score(known, instant, levels=levels, horizon_days=horizon_days, model=model)
        found = changes_of([due[at] for at in chosen.tolist()], terms, scores, levels)
        _write(connection, terms, found, scores, now - instant)
        changes += found
    log.info("rescored", extra={"customers": len(ids), "rollup_rows": len(rollup.customer)})
    return changes


def _write(connection: Connection, terms: Terms, changes: Sequence[Change], scores: Scores, shift: float) -> None:
    """`shift` is how many seconds the account's clock is behind."""
    columns = _columns(changes, scores)
    due_at = [_moment(due + shift) for due in scores.next_due.tolist()]
    with connection.cursor() as cursor:
        cursor.execute(sql("write_scores"), {**columns, **terms._asdict(), "rescore_at": due_at})


def _postpone(connection: Connection, customer: DueCustomer) -> None:
    log.error("a customer can't be scored; the next try is in a day", extra={"customer_id": customer.customer_id})
    connection.execute(sql("postpone_score"), {"customer_id": customer.customer_id})


def reach_of(first_seen: float, now: float, model: Model, pauses: Sequence[Pause]) -> Reach | None:
    """What is read of histories that are longer than a risk looks back; pauses move engagement later."""
    days = LOOK_BACK + sum(ceil((pause.ended - pause.began) / DAY) for pause in pauses)
    if first_seen > now - days * DAY:
        return None
    return Reach(days, [name.removeprefix(EVENT) for name in model.features if name.startswith(EVENT)])


def _columns(changes: Sequence[Change], scores: Scores) -> dict[str, Any]:
    return {
        "scored_at": _moment(changes[0].before.now),
        "customer_id": [change.before.customer_id for change in changes],
        "because": [change.because for change in changes],
        "recorded": [change.recorded for change in changes],
        "probability": scores.probability.tolist(),
        "level": [change.level for change in changes],
        "state": [change.state for change in changes],
        "low_confidence": scores.low_confidence.tolist(),
        "plan": list(scores.plan),
        "open_tickets": [int(count) for count in scores.open_tickets],
        "overdue_since": [_moment(since) for since in scores.overdue_since],
        "nps": list(scores.nps),
        "reasons": [_json(reasons) for reasons in scores.reasons],
        "advice": [_json(advice) for advice in scores.advice],
    }


def _moment(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
