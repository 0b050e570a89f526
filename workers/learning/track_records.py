"""Track records of accounts: due after an import and after each training, computed in the process that learns."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from scoring.learning.churn_months import ChurnMonth
from scoring.learning.track_record import TrackRecordSource, track
from scoring.levels import LevelBounds
from scoring.rollup import Floats
from workers.accounts import registry
from workers.process import Process
from workers.risk.rollups import read_account
from workers.store import Connection, sql
from workers.tracking.outages import outages_of, pauses_of

log = logging.getLogger(__name__)


def list_due(*cells: Connection) -> list[int]:
    """Returns the accounts whose track record is due in any of these cells."""
    due = [account_id for cell in cells for (account_id,) in cell.execute(sql("list_due_track_records"))]
    return list(dict.fromkeys(due))


def compute_due(process: Process, cells: Sequence[Connection] = ()) -> None:
    """Compute all track records that are due."""
    connection, settings = process.connection(), process.settings
    for account_id in list_due(*(cells or [connection])):
        try:
            compute(connection, account_id, settings.levels, settings.horizon_days, cells=cells)
        except Exception:  # whatever it is, the other accounts are not to suffer from it
            log.exception("the track record of an account failed", extra={"account_id": account_id})


def compute(
    connection: Connection,
    account_id: int,
    levels: LevelBounds,
    horizon_days: int | None = None,
    now: float | None = None,
    cells: Sequence[Connection] = (),
) -> None:
    """Compute an account's track record, and keep it in place of the one before: in each cell that of its customers.
    `cells` hold these, where there are several; `connection` leads home."""
    moment = time.time() if now is None else now
    places = cells or [connection]
    for cell in places:
        cell.execute(sql("begin_track_record"), {"account_id": account_id})
    rules = registry.find_rules(connection, account_id, horizon_days)
    rollup, ids = read_account(places, account_id, meaning=rules.meaning)
    pauses = pauses_of(outages_of(connection, account_id), moment)
    record = track(rollup, moment, rules.horizon_days, levels.medium, pauses=pauses)
    for cell in places:  # each keeps the rows of its own customers; counts add up, so the first has those of all
        _save(cell, account_id, moment, rules.horizon_days, record, ids)
        record = record._replace(months=[ChurnMonth(month.start, 0, 0, 0, 0) for month in record.months])
    log.info("track record computed", extra={"account_id": account_id, "lapsed": len(record.departures.left_at)})


def _save(
    connection: Connection, account_id: int, now: float, horizon_days: int, record: TrackRecordSource, ids: list[str]
) -> None:
    departures, flags = record.departures, record.flags
    gone: dict[str, Any] = {
        "account_id": account_id,
        "customer_id": [ids[place] for place in departures.customer.tolist()],
        "left_at": departures.left_at.tolist(),
        "stayed_away": [None if np.isnan(stayed) else bool(stayed) for stayed in departures.stayed_away.tolist()],
        "risks": [_encode(risks) for risks in departures.risks],
    }
    flagged: dict[str, Any] = {
        "account_id": account_id,
        "customer_id": [ids[place] for place in flags.customer.tolist()],
        "at": flags.at.tolist(),
        "probability": flags.risk.tolist(),
        "has_left": flags.left.tolist(),
    }
    columns = zip(*record.months, strict=True) if record.months else [()] * len(ChurnMonth._fields)
    months = {"account_id": account_id, **dict(zip(ChurnMonth._fields, map(list, columns), strict=True))}
    kept = {"account_id": account_id, "at": _moment(now), "since": _moment(record.since), "horizon_days": horizon_days}
    with connection.transaction():
        for query in ("forget_departures", "forget_flags", "forget_months"):
            connection.execute(sql(query), {"account_id": account_id})
        connection.execute(sql("copy_departures"), gone)
        connection.execute(sql("copy_flags"), flagged)
        connection.execute(sql("copy_months"), months)
        connection.execute(sql("save_track_record"), kept)


def _encode(risks: Floats) -> str:
    """An array as Postgres reads it."""
    return "{" + ",".join("NULL" if np.isnan(risk) else f"{risk:.6g}" for risk in risks.tolist()) + "}"


def _moment(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)
