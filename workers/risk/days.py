"""Reads the rollups of some customers: Postgres packs all rows into one value, and numpy unpacks it without a Python
object a row."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.event_roles import PLAIN, Meaning, translate
from scoring.events import ENGAGEMENT
from scoring.look_back import LASTING
from scoring.rollup import Codes, Floats, Rollup
from workers.store import Connection, sql, vectors

MOST_ROWS: Final = 50_000  # of a customer: a person has some thousand in a year
MOST_CUSTOMERS: Final = 1 << 16
SINCE_2000: Final = 946_684_800_000_000  # microseconds from 1970 to where Postgres begins to count
PACKED: Final = np.dtype([("key", ">u8"), ("last_at", ">i8")])
"""A key is customer (16 bits), day since 1970 (16), n (31), and 1 where there is a value: it sorts the rows."""


class Reach(NamedTuple):
    """The number of days before the last engagement that are read, and the custom events that are read whatever their
    date."""

    days: int
    custom_events: list[str]


def read_rollup(
    connection: Connection, customer_ids: Sequence[str], meaning: Meaning = PLAIN, reach: Reach | None = None
) -> Rollup:
    """Returns what these customers did, numbered in their order: all of it, or what a risk looks back at.

    Raises ValueError for more than MOST_CUSTOMERS.
    """
    if len(customer_ids) > MOST_CUSTOMERS:
        raise ValueError(f"at most {MOST_CUSTOMERS:,} customers are read at once, not {len(customer_ids):,}")
    parameters: dict[str, Any] = {"customer_ids": vectors.uuids(customer_ids), "rows": MOST_ROWS}
    if reach:
        lasting = [*LASTING, *reach.custom_events, *meaning.names_of(LASTING)]
        engagement = [*ENGAGEMENT, *meaning.names_of(ENGAGEMENT)]
        parameters |= {"reach": reach.days, "engagement": engagement, "lasting": lasting}
    query = sql("read_days_in_reach" if reach else "read_days")
    row = connection.execute(query, parameters, binary=True).fetchone()
    if row is None or row[0] is None:
        return Rollup.from_rows(len(customer_ids), ())
    rows = np.frombuffer(row[0], PACKED)
    key = rows["key"].astype(np.uint64)
    order = np.argsort(key)
    sizes = np.frombuffer(row[2], ">i4")
    names, details, plans, codes = _decode_words(row[3])
    event, detail, plan = codes.repeat(sizes, axis=1)[:, order]
    value = np.zeros(len(key))
    if row[1] is not None:
        value[(key & 1).astype(bool)] = np.frombuffer(row[1], ">f8")
    key = key[order]
    rollup = Rollup(
        customers=len(customer_ids),
        customer=(key >> 48).astype(np.int32),
        day=(key >> 32 & 0xFFFF).astype(np.int32),
        event=event,
        detail=detail,
        n=(key >> 1 & 0x7FFFFFFF).astype(np.int32),
        value=value[order],
        last_at=epoch_of(rows["last_at"][order]),
        plan=plan,
        names=names,
        details=details,
        plans=plans,
    )
    return translate(rollup, meaning)


def epoch_of(moments: NDArray[Any]) -> Floats:
    """Returns epoch seconds, from timestamptz as Postgres sends it."""
    return np.asarray((moments.astype(np.int64) + SINCE_2000) / 1e6)


def _decode_words(text: str) -> tuple[list[str], list[str], list[str], NDArray[np.int32]]:
    """Events, details and plans, and their codes: (3, lines); a plan that isn't named is -1."""
    events, details, plans = Codes(), Codes(), Codes({"": -1})
    codes = [
        (events[event], details[detail], plans[plan])
        for event, detail, plan in (line.split("\x1f") for line in text.split("\n"))
    ]
    table = np.array(codes, np.int32).T
    table[2] = np.maximum(table[2] - 1, -1)
    return list(events), list(details), [plan for plan in plans if plan], table
