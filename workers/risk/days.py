"""Reads the rollups of some customers: Postgres packs all rows into one value, and numpy unpacks it without a Python
object a row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, LiteralString, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.event_roles import PLAIN, Meaning, translate
from scoring.events import ENGAGEMENT
from scoring.look_back import LASTING
from scoring.rollup import DAY, Codes, Floats, Rollup
from workers.store import Connection, sql, vectors

FEW_ROWS: Final = 1_000  # of a customer, that are read whatever they say; few have more
MOSTLY: Final = 0.75  # of a customer's rows have a role: then it is quicker to read all than to look for these
MOST_ROWS: Final = 50_000  # of a customer: a person has some thousand in a year
MOST_CUSTOMERS: Final = 1 << 16
SINCE_2000: Final = 946_684_800_000_000  # microseconds from 1970 to where Postgres begins to count
PACKED: Final = np.dtype([("key", ">u8"), ("last_at", ">i8")])
"""A key is customer (16 bits), day since 1970 (16), n (31), and 1 where there is a value: it sorts the rows."""


class Reach(NamedTuple):
    """The bounds of the rows that are read of customers with many.

    The number of days before the last engagement; the custom events that are read whatever their date; and the first
    instant, in epoch seconds, as of which a risk is computed. Of earlier events without a role, only the first and
    the last time and the plan are read.
    """

    days: int
    custom_events: list[str]
    since: float


class PackedRows(NamedTuple):
    """Rows as Postgres packs them; keys as in PACKED, words as codes: event, detail and plan of each row."""

    key: NDArray[np.uint64]
    last_at: NDArray[np.int64]
    value: Floats
    words: NDArray[np.int32]

    @property
    def customer(self) -> NDArray[np.intp]:
        """The place of each row's customer."""
        return (self.key >> 48).astype(np.intp)

    @property
    def day(self) -> NDArray[np.int32]:
        """The day of each row, since 1970."""
        return (self.key >> 32 & 0xFFFF).astype(np.int32)

    def take(self, rows: NDArray[Any]) -> Self:
        """Some of the rows."""
        return type(self)(self.key[rows], self.last_at[rows], self.value[rows], self.words[:, rows])

    def __add__(self, other: "PackedRows") -> "PackedRows":  # type: ignore[override]
        columns: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self, other, strict=True)
        return PackedRows(*(np.concatenate(pair, axis=-1) for pair in columns))


class RowWords:
    """The events, details and plans of rows, by their codes; a plan that isn't named is -1."""

    def __init__(self) -> None:
        self.events, self.details, self.plans = Codes(), Codes(), Codes({"": 0})

    def decode(self, text: str) -> NDArray[np.int32]:
        """Returns the codes of lines of words: (3, lines)."""
        codes = [
            (self.events[event], self.details[detail], self.plans[plan] - 1)
            for event, detail, plan in (line.split("\x1f") for line in text.split("\n"))
        ]
        return np.array(codes, np.int32).T


def read_rollup(
    connection: Connection, customer_ids: Sequence[str], meaning: Meaning = PLAIN, reach: Reach | None = None
) -> Rollup:
    """Returns what these customers did, numbered in their order: all of it, or what a risk looks back at.

    Raises ValueError for more than MOST_CUSTOMERS.
    """
    if len(customer_ids) > MOST_CUSTOMERS:
        raise ValueError(f"at most {MOST_CUSTOMERS:,} customers are read at once, not {len(customer_ids):,}")
    words, most = RowWords(), min(FEW_ROWS, MOST_ROWS) if reach else MOST_ROWS
    parameters = {"customer_ids": vectors.uuids(customer_ids), "rows": most}
    rows = _read(connection, "read_days", parameters, words)
    if reach and most < MOST_ROWS and rows:
        rows = _read_on(connection, customer_ids, meaning, reach, rows, words)
    if rows is None:
        return Rollup.from_rows(len(customer_ids), ())
    rows = rows.take(np.argsort(rows.key))
    event, detail, plan = rows.words
    rollup = Rollup(
        customers=len(customer_ids),
        customer=rows.customer.astype(np.int32),
        day=rows.day,
        event=event,
        detail=detail,
        n=(rows.key >> 1 & 0x7FFFFFFF).astype(np.int32),
        value=rows.value,
        last_at=epoch_of(rows.last_at),
        plan=plan,
        names=list(words.events),
        details=list(words.details),
        plans=[plan for plan in words.plans if plan],
    )
    return translate(rollup, meaning)


def _read_on(
    connection: Connection,
    customer_ids: Sequence[str],
    meaning: Meaning,
    reach: Reach,
    rows: PackedRows,
    words: RowWords,
) -> PackedRows:
    """The rows, and those of earlier days, of customers who have more than the FEW_ROWS that were read."""
    customer, day = rows.customer, rows.day
    busy = np.flatnonzero(np.bincount(customer) >= FEW_ROWS)
    if not len(busy):
        return rows
    lasting = [*LASTING, *reach.custom_events, *meaning.names_of(LASTING)]
    engagement = [*ENGAGEMENT, *meaning.names_of(ENGAGEMENT)]
    roles = engagement + lasting
    has_role = np.array([name in roles for name in words.events])[rows.words[0]]
    until, recent = np.full(len(customer_ids), -1), np.zeros(len(customer_ids), np.int32)
    for place in busy.tolist():
        theirs = customer == place
        until[place] = day[theirs].min()  # a day of which not all may have been read
        if has_role[theirs].mean() < MOSTLY:
            recent[place] = min(until[place], reach.since // DAY)
    parameters = {
        "customer_ids": vectors.uuids([customer_ids[place] for place in busy.tolist()]),
        "numbers": vectors.integers(busy),
        "until": vectors.integers(until[busy]),
        "recent": vectors.integers(recent[busy]),
        "rows": MOST_ROWS,
        "reach": reach.days,
        "lasting": vectors.words(lasting),
        "engagement": vectors.words(engagement),
        "roles": vectors.words(roles),
    }
    earlier = _read(connection, "read_earlier_days", parameters, words)
    later = rows.take(day > until[customer])
    return later + earlier if earlier else later


def _read(
    connection: Connection, query: LiteralString, parameters: Mapping[str, Any], words: RowWords
) -> PackedRows | None:
    """The rows of a query, or None without any; their words are added."""
    row = connection.execute(sql(query), parameters, binary=True).fetchone()
    if row is None or row[0] is None:
        return None
    packed, codes = np.frombuffer(row[0], PACKED), words.decode(row[3])
    key = packed["key"].astype(np.uint64)
    value = np.zeros(len(key))
    if row[1] is not None:
        value[(key & 1).astype(bool)] = np.frombuffer(row[1], ">f8")
    last_at, sizes = packed["last_at"].astype(np.int64), np.frombuffer(row[2], ">i4")
    return PackedRows(key, last_at, value, codes.repeat(sizes, axis=1))


def epoch_of(moments: NDArray[Any]) -> Floats:
    """Returns epoch seconds, from timestamptz as Postgres sends it."""
    return np.asarray((moments.astype(np.int64) + SINCE_2000) / 1e6)
