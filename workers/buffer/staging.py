"""Rows on their way into Postgres, written for COPY before a transaction begins."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import NamedTuple

import numpy as np

from workers.buffer.columns import Columns, make_columns
from workers.buffer.fields import EPOCH_US
from workers.buffer.fold import Fold, fold
from workers.buffer.rows import Row
from workers.buffer.table import Table, tabulate

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"
# The number of columns; customer_id as its field; occurred_at, event_key and received_at, each behind its length. What
# follows, event and properties, are fields of any length.
COPY_ROW = np.dtype(
    [("columns", ">i2"), ("customer_id", "V20")]
    + [(name, kind) for number in range(3) for name, kind in ((f"length{number}", ">i4"), (f"value{number}", ">i8"))]
)

_is_identified, _position_of = map(itemgetter, (4, 7))
_user_id_of, _traits_of = map(attrgetter, ("user_id", "traits"))


class StagedRows(NamedTuple):
    """Rows; the distinct ones of them (of equal ones the first) in the order of their keys, as the table `events` takes
    them; and what they add to daily counts and customers."""

    rows: Sequence[Row]
    table: Table  # of the rows
    distinct: Sequence[Row]
    copy: bytes  # in the binary format of COPY
    added: Fold
    columns: Columns  # of what is added
    identified: bool  # any row has an event_id
    unresolved: bool  # any row has a user id in place of an address
    traits: bool  # any row has a customer's revenue or company
    received_us: int  # the earliest
    occurred_us: int  # the earliest
    position: int  # the first in the buffer


def stage(rows: Sequence[Row]) -> StagedRows:
    """Returns these rows, ready for COPY."""
    table = tabulate(rows)
    places = table.find_distinct()
    distinct = table.select(places)
    added = fold(distinct)
    return StagedRows(
        rows,
        table,
        [rows[place] for place in places.tolist()],
        format_copy(distinct),
        added,
        make_columns(added),
        any(map(_is_identified, rows)),
        any(user_id is not None for user_id in map(_user_id_of, table.customers)),
        any(map(_traits_of, table.contents)),
        int(table.received_us.min()) if rows else 0,
        int(table.occurred_us.min()) if rows else 0,
        min(map(_position_of, rows), default=0),
    )


def format_copy(table: Table) -> bytes:
    """Returns the rows of a table in the binary format of COPY, as copy_events takes them."""
    heads = np.empty(len(table.customer), COPY_ROW)
    heads["columns"] = 6
    ids = np.frombuffer(b"".join(customer.id_field for customer in table.customers), "V20")
    heads["customer_id"] = ids[table.customer]
    values = table.occurred_us - EPOCH_US, table.event_key, table.received_us - EPOCH_US
    for number, column in enumerate(values):
        heads[f"length{number}"], heads[f"value{number}"] = 8, column
    packed, size = heads.tobytes(), COPY_ROW.itemsize
    tails = [content.event_field + content.properties_field for content in table.contents]
    rows = zip(
        (packed[at : at + size] for at in range(0, len(packed), size)),
        (tails[place] for place in table.content.tolist()),
        strict=True,
    )
    return b"".join([COPY_HEAD, *chain.from_iterable(rows), COPY_END])
