"""Customers that are due: rollup → score → row."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, NamedTuple

import msgspec
import numpy as np

from scoring.history import EVENT
from scoring.levels import Levels
from scoring.look_back import LOOK_BACK
from scoring.model import Model
from scoring.pauses import Pause, bridge
from scoring.rollup import DAY
from scoring.score import STATES, Scores, score
from workers.accounts.serving import Served
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.risk.days import Reach, read_rollup
from workers.store import Connection, sql
from workers.tickets import clear_mark
from workers.tracking.outages import outages_of, pauses_of
from workers.upkeep import totals

log = logging.getLogger(__name__)

BATCH_CUSTOMERS = 500
MOST_NEWS = 10_000
BUDGET_SECONDS = 5.0
LINGER_SECONDS = 0.25  # after the last one, look once more: a flood of events must not cost a job each


class DueCustomer(NamedTuple):
    """A customer whose risk is due, locked until the transaction ends."""

    customer_id: str
    account_id: int
    now: float
    first_seen: float


def drain(process: Process) -> int:
    """Rescore until no customer is due or the budget is spent. Returns how many customers were scored."""
    clear_mark(process.redis, "score")
    until = time.monotonic() + BUDGET_SECONDS
    total, lingered = 0, False
    while not process.stopping.is_set() and time.monotonic() < until:
        scored = retry_while_unavailable(process, lambda: rescore_due(process))
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


def rescore_due(process: Process) -> int:
    """Score up to BATCH_CUSTOMERS customers that are due, in one transaction. Returns how many."""
    connection = process.connection()
    news = {"limit": MOST_NEWS, "rescore_seconds": process.settings.rescore_seconds}
    with connection.transaction():
        connection.execute(sql("take_news"), news)
        due = [DueCustomer(*row) for row in connection.execute(sql("take_due"), {"limit": BATCH_CUSTOMERS})]
        for account_id in sorted({customer.account_id for customer in due}):
            served = process.serving.find(connection, account_id)
            _rescore(process, connection, [customer for customer in due if customer.account_id == account_id], served)
    return len(due)


def _rescore(process: Process, connection: Connection, due: Sequence[DueCustomer], served: Served) -> None:
    """Customers of one account."""
    now, levels, (model, horizon_days, meaning) = due[0].now, process.settings.levels, served
    ids = [customer.customer_id for customer in due]
    outages = outages_of(connection, due[0].account_id)
    pauses, stale = pauses_of(outages, now), any(outage.lasts for outage in outages)
    reach = reach_of(min(customer.first_seen for customer in due), now, model, pauses)
    rollup, instants = bridge(read_rollup(connection, ids, meaning, reach), pauses, now)
    for instant in sorted(set(instants.tolist())):  # as a rule this is now, for all
        chosen = np.flatnonzero(instants == instant)
        known = rollup if len(chosen) == len(ids) else rollup.at(chosen, instants[chosen])
        scores = score(known, instant, levels=levels, horizon_days=horizon_days, model=model)
        columns = _columns([ids[at] for at in chosen], now, scores, levels)
        due_at = [_moment(due + now - instant) for due in scores.next_due.tolist()]
        with connection.cursor() as cursor:
            common = {"model": model.version, "horizon_days": horizon_days, "stale_input": stale}
            cursor.execute(sql("write_scores"), {**columns, **common, "rescore_at": due_at})
    log.info("rescored", extra={"customers": len(ids), "rollup_rows": len(rollup.customer)})


def reach_of(first_seen: float, now: float, model: Model, pauses: Sequence[Pause]) -> Reach | None:
    """What is read of histories that are longer than a risk looks back; pauses move engagement later."""
    days = LOOK_BACK + sum(ceil((pause.ended - pause.began) / DAY) for pause in pauses)
    if first_seen > now - days * DAY:
        return None
    return Reach(days, [name.removeprefix(EVENT) for name in model.features if name.startswith(EVENT)])


def _columns(ids: Sequence[str], now: float, scores: Scores, levels: Levels) -> dict[str, Any]:
    return {
        "scored_at": _moment(now),
        "customer_id": list(ids),
        "probability": scores.probability.tolist(),
        "level": [levels.name(probability) for probability in scores.probability.tolist()],
        "state": [STATES[state] for state in scores.state.tolist()],
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
