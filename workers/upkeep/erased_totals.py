"""Takes erased customers out of the totals: an erasure notes what it deletes, and the next tally subtracts it.

While everything is counted anew (recount.py), customers up to `after` are in the totals, and the others are not: what
those leave is no more to be subtracted, and the recount drops it.
"""

from typing import Any

from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, holding
from workers.upkeep import recount
from workers.upkeep.snapshots import counted_by, one_moment, read_last


def note_erased(connection: Connection, customer: dict[str, Any]) -> None:
    """Note what an erasure deletes of a customer, if that isn't noted yet. Events that are stored from now
    on are counted after the erasure has ended. The caller's transaction holds the lock of erasures alone."""
    if connection.execute(sql("begin_erasing"), customer).rowcount:
        connection.execute(sql("note_leaving"), customer)


def end_erasing(connection: Connection, customer: dict[str, Any]) -> None:
    """From now on, what is stored of the customer is a new history, and is counted."""
    connection.execute(sql("end_erasing"), customer)


def is_due(connection: Connection) -> bool:
    """Returns whether an erased customer may still be in the totals."""
    (due,) = only_row(connection.execute(sql("anybody_leaving")))
    return bool(due)


def leave_out(connection: Connection) -> None:
    """Subtract erased customers from the totals. If another process changes the totals now, it does so next time."""
    if not is_due(connection):
        return
    with holding(connection, Lock.TOTALS) as ours:
        if ours:
            with one_moment(connection):
                subtract(connection)


def subtract(connection: Connection) -> None:
    """Subtract erased customers from the totals, in a transaction of one moment that has the right to."""
    state = recount.read_state(connection)
    counted = state.counted if state else counted_by(read_last(connection))
    if connection.execute(sql("fill_parting"), counted).rowcount:
        connection.execute("ANALYZE parting")
        for query in ("recent", "hours", "returns", "days"):
            connection.execute(sql(f"leave_out_{query}"))
        connection.execute(sql("drop_emptied"))
