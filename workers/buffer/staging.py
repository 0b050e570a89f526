"""Rows on their way into Postgres, written for COPY before a transaction begins."""

from collections.abc import Sequence
from typing import NamedTuple

from workers.buffer.rows import Row


class StagedRows(NamedTuple):
    """Rows, and the distinct ones of them as the table `incoming` takes them: of equal ones the first."""

    rows: Sequence[Row]
    distinct: int
    text: str  # in the text format of COPY
    identified: bool  # whether any has an event_id
    unresolved: bool  # whether any has a user id in place of an address
    traits: bool  # whether any says what a customer pays, or belongs to
    received_us: int  # the earliest
    occurred_us: int  # the earliest
    position: int  # the first in the buffer


def stage(rows: Sequence[Row]) -> StagedRows:
    """Returns these rows, ready for COPY."""
    distinct = {row[:3]: row for row in reversed(rows)}.values()
    return StagedRows(
        rows,
        len(distinct),
        "".join(map(_format_row, distinct)),
        any(row.identified for row in distinct),
        any(row.customer.user_id is not None for row in distinct),
        any(row.content.traits for row in distinct),
        min((row.received_us for row in rows), default=0),
        min((row.occurred_us for row in rows), default=0),
        min((row.position for row in rows), default=0),
    )


def _format_row(row: Row) -> str:
    _, occurred_us, key, received_us, identified, customer, content, _ = row
    return f"{customer.copy}\t{content.copy}\t{occurred_us}\t{key}\t{received_us}\t{identified}\n"
