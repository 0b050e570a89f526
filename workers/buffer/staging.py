"""Rows on their way into Postgres, written for COPY before a transaction begins."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from struct import Struct
from typing import NamedTuple

from workers.buffer.columns import Columns, make_columns
from workers.buffer.fields import EPOCH_US
from workers.buffer.fold import Fold, fold
from workers.buffer.rows import Row

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"

COLUMNS = (6).to_bytes(2, "big")

_key_of = itemgetter(0, 1, 2)
_occurred_of, _received_of, _is_identified, _position_of = map(itemgetter, (1, 3, 4, 7))
_pack_times = Struct(">iqiqiq").pack


class StagedRows(NamedTuple):
    """Rows; the distinct ones of them (of equal ones the first) in the order of their keys, as the table `events` takes
    them; and what they add to daily counts and customers."""

    rows: Sequence[Row]
    distinct: Sequence[Row]
    copy: bytes  # in the binary format of COPY
    added: Fold
    columns: Columns  # of what is added
    identified: bool  # whether any has an event_id
    unresolved: bool  # whether any has a user id in place of an address
    traits: bool  # whether any says what a customer pays, or belongs to
    received_us: int  # the earliest
    occurred_us: int  # the earliest
    position: int  # the first in the buffer


def stage(rows: Sequence[Row]) -> StagedRows:
    """Returns these rows, ready for COPY."""
    by_key = {_key_of(row): row for row in reversed(rows)}
    distinct = [by_key[key] for key in sorted(by_key)]
    added = fold(distinct)
    return StagedRows(
        rows,
        distinct,
        format_copy(distinct),
        added,
        make_columns(added),
        any(map(_is_identified, distinct)),
        any(span[0].user_id is not None for span in added.spans.values()),
        any(row.content.traits for row in distinct),
        min(map(_received_of, rows), default=0),
        min(map(_occurred_of, rows), default=0),
        min(map(_position_of, rows), default=0),
    )


def format_copy(rows: Iterable[Row]) -> bytes:
    """Returns rows in the binary format of COPY.

    The columns are customer_id, event, properties, occurred_at, event_key and received_at.
    """
    fields = [COPY_HEAD]
    for _, occurred_us, key, received_us, _, customer, content, _ in rows:
        times = _pack_times(8, occurred_us - EPOCH_US, 8, key, 8, received_us - EPOCH_US)
        fields += (COLUMNS, customer.id_field, content.event_field, content.properties_field, times)
    fields.append(COPY_END)
    return b"".join(fields)
