"""Evaluates matured scores: those of a horizon ago (predicted), beside what has happened since (actual)."""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np

from scoring.event_roles import PLAIN, Meaning
from scoring.learning.metrics import Metrics, metrics_of
from scoring.learning.outcomes import INVOICE, SETTLED, lapsed_within
from scoring.rollup import DAY
from workers.learning.contacts import find_contact_event
from workers.risk.rollups import DEMO, day_of, read_account
from workers.store import Connection, only_row, sql
from workers.tracking.outages import outages_of, pauses_of

LOOK_BACK = timedelta(seconds=INVOICE)  # before the scores: bills that fell due then tell of a lapse later


class DayEvaluation(msgspec.Struct, frozen=True):
    """The quality of a day's scores (at its midnight, UTC) for the active customers."""

    day: date
    horizon_days: int
    metrics: Metrics


def mature(
    connection: Connection,
    account_id: int,
    horizon_days: int,
    meaning: Meaning = PLAIN,
    now: float | None = None,
    cells: Sequence[Connection] = (),
) -> DayEvaluation | None:
    """Compare the latest scores over this horizon whose outcome is known, and keep the comparison. `cells` hold the
    customers, where there are several; `connection` leads home.

    Returns None if there are no such scores, if it was done before, or if an outage of tracking hides the outcomes.
    """
    moment = time.time() if now is None else now
    day = day_of(moment - SETTLED - horizon_days * DAY)
    (done,) = only_row(connection.execute(sql("any_matured"), {"account_id": account_id, "day": day}))
    if done:
        return None
    matured = _compare(connection, account_id, day, horizon_days, meaning, cells or [connection])
    if matured:
        parameters = {
            "account_id": account_id,
            "day": day,
            "horizon_days": horizon_days,
            "metrics": msgspec.json.encode(matured.metrics).decode(),
        }
        connection.execute(sql("add_matured"), parameters)
    return matured


def _compare(
    connection: Connection,
    account_id: int,
    day: date,
    horizon_days: int,
    meaning: Meaning,
    cells: Sequence[Connection],
) -> DayEvaluation | None:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    contact_event = find_contact_event(connection, account_id)
    demo = {"account_id": account_id, "demo": DEMO}
    with_demo = [only_row(cell.execute(sql("is_demo_only"), demo))[0] for cell in cells]
    parameters = {"account_id": account_id, "at": at, "horizon_days": horizon_days, "contact_event": contact_event}
    parameters |= {"with_demo": all(with_demo), "demo": DEMO}
    predicted: dict[str, float] = {}
    for cell in cells:
        predicted |= dict(cell.execute(sql("said_then"), parameters).fetchall())
    start, end = at.timestamp(), at.timestamp() + horizon_days * DAY
    pauses = pauses_of(outages_of(connection, account_id), time.time())
    out = any(pause.began < end and pause.ended > start for pause in pauses)
    if not predicted or out:
        return None
    days = (day - LOOK_BACK, day + timedelta(days=horizon_days + 1))
    rollup, ids = read_account(cells, account_id, days, meaning)
    number = {customer_id: k for k, customer_id in enumerate(ids)}
    came = np.array([customer_id in number for customer_id in predicted])  # the others did nothing at all
    customer = np.array([number[customer_id] for customer_id in predicted if customer_id in number], np.intp)
    lapsed = np.ones(len(predicted), np.int8)
    lapsed[came] = lapsed_within(rollup, customer, np.full(len(customer), at.timestamp()), horizon_days)
    return DayEvaluation(day, horizon_days, metrics_of(lapsed, np.array(list(predicted.values()))))
