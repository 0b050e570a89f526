"""Reads the rollups of some customers: Postgres packs all rows into one value, and numpy unpacks it without a Python
object a row."""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

import numpy as np
from numpy.typing import NDArray

from scoring.event_roles import PLAIN, Meaning, translate
from scoring.rollup import Floats, Rollup
from workers.risk.earlier_days import Reach, Scope, find_kept_days, keep_days
from workers.risk.packed_rows import PackedRows, RowWords, join, unpack
from workers.store import Connection, sql, vectors

FEW_ROWS: Final = 1_000  # of a customer, that are read whatever they say; few have more
MOSTLY: Final = 0.75  # of a customer's rows have a role: then it is quicker to read all than to look for these
MOST_ROWS: Final = 50_000  # of a customer: a person has some thousand in a year
MOST_CUSTOMERS: Final = 1 << 16
SINCE_2000: Final = 946_684_800_000_000  # microseconds from 1970 to where Postgres begins to count


def read_rollup(
    connection: Connection,
    customer_ids: Sequence[str],
    meaning: Meaning = PLAIN,
    reach: Reach | None = None,
    *,
    keeps: bool = False,
) -> Rollup:
    """Returns what these customers did, numbered in their order: all of it, or what a risk looks back at. `keeps`: the
    caller's transaction holds the rows of the customers, and earlier days are kept for the next time.

    Raises ValueError for more than MOST_CUSTOMERS.
    """
    if len(customer_ids) > MOST_CUSTOMERS:
        raise ValueError(f"at most {MOST_CUSTOMERS:,} customers are read at once, not {len(customer_ids):,}")
    words, most = RowWords(), min(FEW_ROWS, MOST_ROWS) if reach else MOST_ROWS
    parameters = {"customer_ids": vectors.uuids(customer_ids), "rows": most}
    rows = _read(connection, "read_days", parameters, words)
    if rows is None:
        return Rollup.from_rows(len(customer_ids), ())
    busy = np.flatnonzero(np.bincount(rows.customer) >= FEW_ROWS).tolist() if reach and most < MOST_ROWS else []
    if reach and busy:
        rows = _read_on(connection, customer_ids, Scope.of(reach, meaning), rows, busy, words, keeps)
    else:
        rows = rows.in_order()
    return translate(_make_rollup(len(customer_ids), rows, words), meaning)


def _make_rollup(customers: int, rows: PackedRows, words: RowWords) -> Rollup:
    event, detail, plan = rows.words
    return Rollup(
        customers=customers,
        customer=rows.customer.astype(np.int32),
        day=rows.day,
        event=event,
        detail=detail,
        n=rows.n,
        value=rows.value,
        last_at=epoch_of(rows.last_at),
        plan=plan,
        names=list(words.events),
        details=list(words.details),
        plans=[plan for plan in words.plans if plan],
    )


def _read_on(
    connection: Connection,
    customer_ids: Sequence[str],
    scope: Scope,
    rows: PackedRows,
    busy: Sequence[int],
    words: RowWords,
    keeps: bool,
) -> PackedRows:
    """Returns the rows, sorted, with the earlier days of `busy` customers: not all of their rows were read."""
    customer, day = rows.customer, rows.day
    until = np.full(len(customer_ids), -1)
    for place in busy:
        until[place] = day[customer == place].min()  # a day of which not all may have been read
    kept = find_kept_days(connection, customer_ids, busy, scope, words)
    kept = {place: days for place, days in kept.items() if days.until > until[place]}
    unkept = [place for place in busy if place not in kept]
    earlier = _read_earlier(connection, customer_ids, scope, rows, unkept, until, words) if unkept else None
    for place, days in kept.items():
        until[place] = days.until - 1
    later = rows.take(day > until[customer]).in_order()
    rows = join([*(days.rows for days in kept.values()), *([earlier] if earlier else []), later]).in_order()
    if keeps:
        keep_days(connection, customer_ids, unkept, scope, rows, words)
    return rows


def _read_earlier(
    connection: Connection,
    customer_ids: Sequence[str],
    scope: Scope,
    rows: PackedRows,
    places: Sequence[int],
    until: NDArray[np.int64],
    words: RowWords,
) -> PackedRows | None:
    """Returns rows of days up to `until` of the customers at these places, or None without any."""
    customer = rows.customer
    roles = scope.engagement + scope.lasting
    has_role = np.array([name in roles for name in words.events])[rows.words[0]]
    recent = [
        min(int(until[place]), scope.since) if has_role[customer == place].mean() < MOSTLY else 0 for place in places
    ]
    parameters = {
        "customer_ids": vectors.uuids([customer_ids[place] for place in places]),
        "numbers": vectors.integers(places),
        "until": vectors.integers(until[places]),
        "recent": vectors.integers(recent),
        "rows": MOST_ROWS,
        "reach": scope.days,
        "lasting": vectors.words(scope.lasting),
        "engagement": vectors.words(scope.engagement),
        "roles": vectors.words(roles),
    }
    return _read(connection, "read_earlier_days", parameters, words)


def _read(
    connection: Connection, query: LiteralString, parameters: dict[str, Any], words: RowWords
) -> PackedRows | None:
    """The rows of a query, or None without any; their words are added."""
    row = connection.execute(sql(query), parameters, binary=True).fetchone()
    return unpack(row[0], row[1], row[2], row[3], words) if row and row[0] else None


def epoch_of(moments: NDArray[Any]) -> Floats:
    """Returns epoch seconds, from timestamptz as Postgres sends it."""
    return np.asarray((moments.astype(np.int64) + SINCE_2000) / 1e6)
