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
SINCE_2000: Final = 946_684_800_000_000  # microseconds from 1970 to where Postgres begins to count
SINCE_2000_DAYS: Final = 10_957
PACKED: Final = np.dtype([("customer", ">i4"), ("day", ">i4"), ("n", ">i4"), ("value", ">f8"), ("last_at", ">i8")])


class Reach(NamedTuple):
    """The number of days before the last engagement that are read, and the custom events that are read whatever their
    date."""

    days: int
    custom_events: list[str]


def read_rollup(
    connection: Connection, customer_ids: Sequence[str], meaning: Meaning = PLAIN, reach: Reach | None = None
) -> Rollup:
    """Returns what these customers did, numbered in their order: all of it, or what a risk looks back at."""
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
    names, details, plans, codes = _decode_words(row[1])
    rollup = Rollup(
        customers=len(customer_ids),
        customer=rows["customer"].astype(np.int32),
        day=rows["day"].astype(np.int32) + np.int32(SINCE_2000_DAYS),
        event=codes[0],
        detail=codes[1],
        n=rows["n"].astype(np.int32),
        value=rows["value"].astype(np.float64),
        last_at=epoch_of(rows["last_at"]),
        plan=codes[2],
        names=names,
        details=details,
        plans=plans,
    )
    return translate(rollup, meaning)


def epoch_of(moments: NDArray[Any]) -> Floats:
    """Returns epoch seconds, from timestamptz as Postgres sends it."""
    return np.asarray((moments.astype(np.int64) + SINCE_2000) / 1e6)


def _decode_words(text: str) -> tuple[list[str], list[str], list[str], NDArray[np.int32]]:
    """Events, details and plans, and their codes: (3, rows); a plan that isn't named is -1."""
    words = Codes()
    lines = text.split("\n")
    numbers = np.fromiter(map(words.__getitem__, lines), np.intp, len(lines))
    events, details, plans = Codes(), Codes(), Codes({"": -1})
    codes = [
        (events[event], details[detail], plans[plan]) for event, detail, plan in (word.split("\x1f") for word in words)
    ]
    table = np.array(codes, np.int32).T
    table[2] = np.maximum(table[2] - 1, -1)
    return list(events), list(details), [plan for plan in plans if plan], table[:, numbers]
