"""Counting the totals anew: at the first tally of a database, and of one that was restored.

A restored database numbers its transactions anew, so what the last tally saw says nothing any more. The recount goes
over the customers in parts, in the order of their ids, each part a transaction that notes how far it came: it may be
interrupted anywhere, holds no snapshot for long, and reads each row once, by its key. It counts what was stored up to
the moment when it began; the next tally adds the rest.

Events that the other server stored have its numbers. They get the number 0, which every snapshot has seen. Our own new
events have numbers as well: those up to `foreign_from`, so the others' are renumbered up to there first, and as far
ahead again whenever ours come near.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from workers.store import Connection, only_row, sql
from workers.upkeep.snapshots import one_moment, read_last

log = logging.getLogger(__name__)

FIRST = "00000000-0000-0000-0000-000000000000"
LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FIRST_PART = 50  # customers; then as many as take about PART_SECONDS
MOST_IN_PART = 5_000
PART_SECONDS = 1.0
AHEAD = 20_000  # transactions: how far above our own numbers no other server's are left
RECENT = 1_000  # events of each name that can be found: of so many customers' hours at most


class Recount(NamedTuple):
    """The progress of a recount: the moment as of which it counts, and the last customer that it has counted."""

    snapshot: str
    xmin: int
    xmax: int
    foreign_from: int
    after: str
    near: bool  # our own numbers come near to foreign_from

    @property
    def counted(self) -> dict[str, Any]:
        """The parameters that tell the events of its moment from later ones."""
        return {"xmin": self.xmin, "xmax": self.xmax, "snapshot": self.snapshot}


def read_state(connection: Connection) -> Recount | None:
    """Returns how far the recount under way is; None if there is none."""
    row = connection.execute(sql("read_recount"), {"ahead": AHEAD}).fetchone()
    return Recount(*row) if row else None


def is_needed(connection: Connection) -> bool:
    """Returns whether the totals can't be brought up to date without a recount."""
    last = read_last(connection)
    return last is None or last.ahead


def advance(connection: Connection, seconds: float, stop: Callable[[], bool] = lambda: False) -> bool:
    """Begin a recount, or go on with it, for about this long. Returns whether it is done. The caller has the right to
    change the totals (Lock.TOTALS)."""
    until = time.monotonic() + seconds
    customers = FIRST_PART
    while state := read_state(connection) or _begin(connection):
        if state.near:
            _renumber_ahead(connection, state)
        began = time.monotonic()
        if _count_part(connection, state, customers):
            log.info("the totals were counted anew")
            return True
        if stop() or time.monotonic() > until:
            return False
        customers = _next_size(customers, time.monotonic() - began)
    raise AssertionError("a recount that has begun has a state")


def _next_size(customers: int, seconds: float) -> int:
    """Returns the number of customers that take about PART_SECONDS, from the time that the last part took; at most
    twice as many."""
    return max(1, min(MOST_IN_PART, 2 * customers, int(customers * PART_SECONDS / max(seconds, 0.001))))


def _begin(connection: Connection) -> Recount | None:
    """Forget the totals, and note the moment as of which they are counted. Levels move beside the totals, and stay as
    they are; where there are none they are taken from the risks."""
    with one_moment(connection):
        connection.execute(sql("forget_totals"))
        connection.execute(sql("begin_recount"), {"first": FIRST})
        if not only_row(connection.execute(sql("any_moves")))[0]:
            connection.execute(sql("recount_moves"))
    if state := read_state(connection):
        _renumber_ahead(connection, state)
    return read_state(connection)


def _renumber_ahead(connection: Connection, state: Recount) -> None:
    """Leave none of the other server's numbers in the next AHEAD ones of our own."""
    with one_moment(connection):
        parameters = {"from": state.foreign_from, "until": state.foreign_from + 2 * AHEAD}
        connection.execute(sql("renumber_events"), parameters)
        connection.execute(sql("note_renumbered"), parameters)


def _count_part(connection: Connection, state: Recount, customers: int) -> bool:
    """Add the next customers to the totals. Returns whether they were the last."""
    with one_moment(connection):
        filled = connection.execute(sql("fill_part"), {"after": state.after, "limit": customers}).rowcount
        is_last = filled < customers
        upto = LAST if is_last else only_row(connection.execute(sql("end_of_part")))[0]
        connection.execute("SET LOCAL enable_seqscan = off")  # rows are read by their keys, whatever the statistics say
        connection.execute(sql("skip_erasing"))
        connection.execute(sql("drop_leaving"), {"after": state.after, "upto": upto})
        connection.execute("ANALYZE part")
        parameters = {**state.counted, "foreign_from": state.foreign_from, "kept": RECENT}
        for query in ("renumber_part", "recount_days", "fill_fresh_of_part"):
            connection.execute(sql(query), parameters)
        connection.execute("ANALYZE fresh")
        for query in ("recount_hours", "note_recent", "trim_recent"):
            connection.execute(sql(query), parameters)
        connection.execute(sql("end_recount" if is_last else "note_recounted"), {"upto": upto})
    return is_last
