"""Matured scores: what was said a horizon ago, beside what has happened since."""

import time
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np

from scoring.event_roles import PLAIN, Meaning
from scoring.learning.metrics import Metrics, metrics_of
from scoring.learning.outcomes import INVOICE, SETTLED, lapsed_within
from scoring.rollup import DAY
from workers.risk.rollups import day_of, outages_of, read_account
from workers.store import Connection, sql

LOOK_BACK = timedelta(seconds=INVOICE)  # before the scores: bills that fell due then tell of a lapse later


class Matured(msgspec.Struct, frozen=True):
    """How good the scores of a day (at its midnight, UTC) were for the active customers."""

    day: date
    horizon_days: int
    metrics: Metrics


def mature(
    connection: Connection, account_id: int, horizon_days: int, meaning: Meaning = PLAIN, now: float | None = None
) -> Matured | None:
    """Compare the latest scores over this horizon whose outcome is known.

    None where there are none, where that was done already, or where an outage of tracking left the outcomes unknown.
    """
    moment = time.time() if now is None else now
    day = day_of(moment - SETTLED - horizon_days * DAY)
    row = connection.execute(sql("any_matured"), {"account_id": account_id, "day": day}).fetchone()
    if row and row[0]:
        return None
    found = _compare(connection, account_id, day, horizon_days, meaning)
    if found:
        parameters = {
            "account_id": account_id,
            "day": day,
            "horizon_days": horizon_days,
            "metrics": msgspec.json.encode(found.metrics).decode(),
        }
        connection.execute(sql("add_matured"), parameters)
    return found


def last_matured(connection: Connection, account_id: int) -> Matured | None:
    """The latest comparison."""
    row = connection.execute(sql("last_matured"), {"account_id": account_id}).fetchone()
    return Matured(row[0], row[1], msgspec.json.decode(row[2], type=Metrics)) if row else None


def _compare(connection: Connection, account_id: int, day: date, horizon_days: int, meaning: Meaning) -> Matured | None:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    parameters = {"account_id": account_id, "at": at, "horizon_days": horizon_days}
    rows = connection.execute(sql("said_then"), parameters).fetchall()
    said: dict[str, float] = dict(rows)
    start, end = at.timestamp(), at.timestamp() + horizon_days * DAY
    out = any(began < end and ended > start for began, ended in outages_of(connection, account_id))
    if not said or out:
        return None
    days = (day - LOOK_BACK, day + timedelta(days=horizon_days + 1))
    rollup, ids = read_account(connection, account_id, days, meaning)
    number = {customer_id: k for k, customer_id in enumerate(ids)}
    came = np.array([customer_id in number for customer_id in said])  # all others did nothing at all
    who = np.array([number[customer_id] for customer_id in said if customer_id in number], np.intp)
    lapsed = np.ones(len(said), np.int8)
    lapsed[came] = lapsed_within(rollup, who, np.full(len(who), at.timestamp()), horizon_days)
    return Matured(day, horizon_days, metrics_of(lapsed, np.array(list(said.values()))))
