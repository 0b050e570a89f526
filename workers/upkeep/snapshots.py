"""The moment that a tally sees, and which events the last one has counted.

`events.stored_by` is the transaction that stored an event, so an event is counted if the snapshot of the last tally saw
that transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from workers.store import Connection, sql


class LastTally(NamedTuple):
    """The last tally: its snapshot; the transactions of which it saw all (below xmin) and none (from xmax); `ahead`:
    another server numbered these, so the database was restored; how long ago it was, and how long it took."""

    snapshot: str
    xmin: int
    xmax: int
    ahead: bool
    rested_seconds: float
    worked_seconds: float


def read_last(connection: Connection) -> LastTally | None:
    """Returns the last tally; None before the first one, and while everything is counted anew."""
    row = connection.execute(sql("last_tally")).fetchone()
    return LastTally(*row) if row else None


def counted_by(last: LastTally | None) -> dict[str, Any]:
    """Returns the parameters that tell the events which a tally has counted from all others."""
    if last is None or last.ahead:
        return {"xmin": 0, "xmax": 0, "snapshot": "1:1:"}
    return {"xmin": last.xmin, "xmax": last.xmax, "snapshot": last.snapshot}


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """A transaction that sees one moment of the database, and may take its time."""
    for query in ("create_fresh", "create_parting", "create_part"):
        connection.execute(sql(query))
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute("SET LOCAL work_mem = '64MB'")
        yield
