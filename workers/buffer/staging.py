"""Rows on their way into Postgres, made ready for COPY before a transaction begins."""

from collections.abc import Sequence
from typing import NamedTuple

from workers.buffer.rows import Row


class Incoming(NamedTuple):
    """Rows; and those of them that differ, as the table `incoming` takes them: of equal ones the first."""

    rows: Sequence[Row]
    distinct: int
    text: str  # in the text format of COPY
    identified: bool  # whether some have an event_id
    received_us: int  # the earliest
    occurred_us: int  # the earliest


def incoming(rows: Sequence[Row]) -> Incoming:
    """These rows, made ready."""
    distinct = {row[:3]: row for row in reversed(rows)}.values()
    return Incoming(
        rows,
        len(distinct),
        "".join(map(_copied, distinct)),
        any(row.identified for row in distinct),
        min((row.received_us for row in rows), default=0),
        min((row.occurred_us for row in rows), default=0),
    )


def _copied(row: Row) -> str:
    _, occurred_us, key, received_us, identified, customer, content = row
    return f"{customer.copied}\t{content.copied}\t{occurred_us}\t{key}\t{received_us}\t{identified}\n"
