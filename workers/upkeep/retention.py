"""Retention: prunes what is older than the settings allow, a little at a time, while everything goes on.

The clock passes over all customers in the order of their ids, some hundred in a step. It deletes by the primary keys of
the tables, so no index is kept for it, and no statement takes long. After a pass it rests for a hundred times as long
as it worked.

The counts of the rollup outlive the events that they count. So a fingerprint of 8 bytes stays of every pruned event,
until the counts of its month are pruned too: an import that is run again adds nothing, however late.
"""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from workers.buffer.rows import EPOCH, Row
from workers.buffer.staging import StagedRows
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, lock, share
from workers.upkeep import erasure, totals

STATE = "prune"  # a hash of the cell: `after`, the last customer of the pass, and `worked`, in milliseconds
RESTING = "prune:resting"
BUDGET_SECONDS = 0.25  # of a tick of the clock
LEAST_REST_SECONDS = 10.0
REST = 100  # times the time worked
WAIT_SECONDS = 3  # for transactions that store old events
CUSTOMERS = 500
ROWS = 5_000
FIRST = "0" * 32
OVERDUE = "invoice_overdue"
QUICKLY_PRUNED = (
    "prune_earlier_days",
    "prune_risk_rebuilt",
    "prune_fingerprints",
    "prune_deliveries",
    "prune_alerts",
    "prune_handlings",
)
RECENT_SECONDS = 23 * 3600  # younger events can't have been pruned: retentions are whole days

Ids = Sequence[str]


class Before(NamedTuple):
    """The moments before which each kind of row is pruned; None: never."""

    event_ids: datetime
    events: datetime | None
    rollups: datetime | None


def before(settings: Settings, now: datetime) -> Before:
    """Returns the moments that the settings give, as of `now`."""

    def ago(days: int | None) -> datetime | None:
        return None if days is None else now - timedelta(days=days)

    event_ids = now - timedelta(days=settings.event_id_days)
    return Before(event_ids, ago(settings.retention_days), ago(settings.rollup_retention_days))


def prune(process: Process) -> None:
    """Continue a pass for BUDGET_SECONDS. A duty of the clock."""
    redis: Any = process.redis
    if redis.exists(process.key(RESTING)):
        return
    began = time.monotonic()
    last_customer, worked_ms = redis.hmget(process.key(STATE), "after", "worked")
    moments = before(process.settings, datetime.now(UTC))
    if not last_customer and moments.events:
        prune_dead_letters(process.connection(), moments.events)
    if not last_customer:
        totals.prune(process.connection(), moments.events, moments.rollups)
        if moments.events:
            totals.tally_few(process.connection())  # events that no tally has counted stay until the next pass
    after = step(process.connection(), last_customer.decode() if last_customer else FIRST, moments)
    while after and not process.stopping.is_set() and time.monotonic() - began < BUDGET_SECONDS:
        after = step(process.connection(), after, moments)
    _note(process, after, int(worked_ms or 0) + int((time.monotonic() - began) * 1000))


def _note(process: Process, after: str | None, worked_ms: int) -> None:
    """Save how far the pass is, or begin the rest at its end."""
    if after:
        process.redis.hset(process.key(STATE), mapping={"after": after, "worked": worked_ms})
        process.redis.expire(process.key(STATE), timedelta(days=7))
    else:
        process.redis.set(process.key(RESTING), 1, px=max(int(LEAST_REST_SECONDS * 1000), REST * worked_ms))
        process.redis.delete(process.key(STATE))


def step(connection: Connection, after: str, moments: Before) -> str | None:
    """Prune old rows of the next customers, ROWS of each kind at most. Returns the customer from which to continue, or
    None at the end."""
    page = connection.execute(sql("next_customers"), {"after": after, "limit": CUSTOMERS}).fetchall()
    ids = [customer_id for (customer_id,) in page]
    if not ids:
        return None
    full = _prune_rows(connection, "prune_event_ids", ids, moments.event_ids)
    if moments.events:
        full |= prune_events(connection, ids, moments.events)
    if moments.rollups:
        full |= prune_rollups(connection, ids, moments.rollups)
    return after if full else ids[-1]


def prune_events(connection: Connection, ids: Ids, moment: datetime) -> bool:
    """Prune events of these customers. Returns True if there may be more."""
    parameters = {"customer_ids": ids, "before": moment, "limit": ROWS}
    (any_old,) = only_row(connection.execute(sql("any_old_events"), parameters))
    if not any_old:
        return False
    try:
        with connection.transaction():
            connection.execute(sql("limit_wait"), {"wait": f"{WAIT_SECONDS}s"})
            erasure.join_storing(connection)
            lock(connection, Lock.PRUNING)
            gone = connection.execute(sql("prune_events"), parameters).fetchone()
    except psycopg.errors.LockNotAvailable:  # storing and erasing go first
        return True
    return gone == (ROWS,)


def prune_rollups(connection: Connection, ids: Ids, moment: datetime) -> bool:
    """Prune daily counts, past risks and what belongs to them. Returns True if there may be more."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    overdue = [OVERDUE, *(name for (name,) in connection.execute(sql("list_names_mapped_to"), {"role": OVERDUE}))]
    full = _prune_rows(connection, "prune_days", ids, midnight, overdue=overdue)
    full |= _prune_rows(connection, "prune_risk_history", ids, moment)
    for query in QUICKLY_PRUNED:
        connection.execute(sql(query), {"customer_ids": ids, "before": moment})
    return full


def prune_dead_letters(connection: Connection, moment: datetime) -> None:
    """Prune letters that were received before this moment, ROWS at most."""
    connection.execute(sql("prune_dead_letters"), {"before": moment, "limit": ROWS})


def _prune_rows(connection: Connection, query: str, ids: Ids, moment: datetime, **more: Any) -> bool:
    parameters = {"customer_ids": ids, "before": moment, "limit": ROWS, **more}
    return connection.execute(sql(query), parameters).rowcount == ROWS


def may_be_pruned(connection: Connection, staged: StagedRows) -> bool:
    """Within a transaction that stores: returns whether some of these events may have been stored and pruned before. If
    they are old enough for that, pruning waits until the transaction ends."""
    if staged.occurred_us >= (time.time() - RECENT_SECONDS) * 1_000_000:
        return False
    share(connection, Lock.PRUNING)
    return only_row(connection.execute(sql("any_pruned"))) == (True,)


def without_pruned(connection: Connection, rows: Sequence[Row]) -> Sequence[Row]:
    """Returns the rows without those that were stored and pruned before. The transaction has asked `may_be_pruned`."""
    months = sorted({(row.customer_id, _month_of(row)) for row in rows})
    parameters = {"customer_id": [month[0] for month in months], "month": [month[1] for month in months]}
    rows_found = connection.execute(sql("find_fingerprints"), parameters)
    fingerprints = {months[place]: set(keys) for place, keys in rows_found}
    return [row for row in rows if _fingerprint(row) not in fingerprints.get((row.customer_id, _month_of(row)), ())]


def _month_of(row: Row) -> date:
    return (EPOCH + timedelta(microseconds=row.occurred_us)).date().replace(day=1)


def _fingerprint(row: Row) -> int:
    """As `prune_events` makes it."""
    return row.event_key ^ row.occurred_us
