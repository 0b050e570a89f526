"""The totals that analytics reads, kept beside the line: nobody who stores an event waits for them.

`events.stored_by` is the transaction that stored an event, so the events that are not tallied yet are those that the
snapshot of the last tally did not see: late ones, those of an import and those that a crash held up as well. A tally
sees one moment of the database, adds what is new, and notes its own snapshot, in one transaction: every event is
counted once. While events wait to be stored it rests for many times as long as it worked, so a flood pays little.

How many customers sent an event between any two days can't be summed from days. It is the number of those for whom a
day within them is the first one: who returned on such a day after a day before all of them. So what is counted is
returns: customers by day and by their previous day with the event. Customers' moves between the levels of risk are
counted by day as well, by whoever writes a risk; the sum up to a day is how many are at each.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from workers.buffer.lanes import LANES
from workers.process import Process
from workers.store import Connection, connect, sql

log = logging.getLogger(__name__)

REST = 50  # times the time worked, while events wait to be stored; or else this long, and 5 times the time worked
ENOUGH_REST_SECONDS = 60.0
QUIET_REST = 10  # times the time worked, while none do; or else this long
ENOUGH_QUIET_REST_SECONDS = 5.0
MOST_EVENTS = 20_000  # of a tally within a job; more have a thread
RECENT = 300  # hours of customers that are noted of each event's name …
RECENT_AT_ONCE = 100  # … and of one tally
MANY_MOVES = 30  # of a day, until they are merged


class Last(NamedTuple):
    """The last tally: its snapshot, the transactions that it had seen all of and none of, whether it is of another
    database's numbering; how long ago it was, and how long it took."""

    snapshot: str
    xmin: int
    xmax: int
    ahead: bool
    rested_seconds: float
    worked_seconds: float

    def rests(self, busy: bool) -> bool:
        """Whether it is time to rest: long where events wait to be stored, that they don't wait for this."""
        if busy:
            enough = max(ENOUGH_REST_SECONDS, 5 * self.worked_seconds)
            return self.rested_seconds < min(REST * self.worked_seconds, enough)
        return self.rested_seconds < min(QUIET_REST * self.worked_seconds, ENOUGH_QUIET_REST_SECONDS)


def drain(process: Process) -> None:
    """Tally what is new, unless it is time to rest. Whatever Postgres has against it, the next one tries again."""
    try:
        connection = process.connection()
        leave_out(connection)
        last = last_of(connection)
        if not (last and last.rests(_busy(process))) and not tally_few(connection):
            threading.Thread(target=_tally_long, args=(process,), name="tally", daemon=True).start()
    except psycopg.Error as error:
        _warn(error)
        process.disconnect()


def _tally_long(process: Process) -> None:
    """A tally that takes longer than a job may. If the process ends meanwhile, nothing of it has happened."""
    try:
        with connect(process.settings.database_url or "") as connection:
            tally(connection)
    except psycopg.Error as error:
        _warn(error)


def _warn(error: psycopg.Error) -> None:
    log.warning("Postgres can't tally now: %s", str(error).partition("\n")[0])


def due(process: Process) -> bool:
    """Whether there is something new, and it is time; or somebody to be left out."""
    connection = process.connection()
    last = last_of(connection)
    resting = last is not None and last.rests(_busy(process))
    return leaving(connection) or (not resting and untallied(connection, last, 1) > 0)


def _busy(process: Process) -> bool:
    """Whether events wait to be stored."""
    return any(process.redis.xlen(lane.stream) for lane in LANES.values())


def last_of(connection: Connection) -> Last | None:
    """The last tally, if there was one."""
    row = connection.execute(sql("last_tally")).fetchone()
    return Last(*row) if row else None


def untallied(connection: Connection, last: Last | None, limit: int) -> int:
    """How many events are new, or all where nothing can be said of them; at most `limit`."""
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")  # few of many, whatever the planner thinks
        row = connection.execute(sql("count_untallied"), {**_since(last), "limit": limit}).fetchone()
    assert row
    return int(row[0])


def tally_few(connection: Connection) -> bool:
    """Tally what is new, unless somebody else does, or it is too much for a moment. Whether it wasn't too much."""
    with alone(connection) as mine:
        if not mine:
            return True
        last = last_of(connection)
        count = untallied(connection, last, MOST_EVENTS)
        if count == MOST_EVENTS:
            return False
        if count or not last or last.ahead:
            with one_moment(connection):
                catch_up(connection)
    return True


def tally(connection: Connection) -> bool:
    """Bring the totals up to now. Whether it was done: not where somebody else is at it."""
    with alone(connection) as mine:
        if mine:
            with one_moment(connection):
                catch_up(connection)
        return mine


def recount(connection: Connection) -> None:
    """Make the totals anew, from what is stored."""
    with alone(connection, patient=True), one_moment(connection):
        _recount(connection)


@contextmanager
def alone(connection: Connection, patient: bool = False) -> Iterator[bool]:
    """Hold the right to change totals, if nobody else does; who is patient waits for it. Outside any transaction: what
    follows must see what happened until now."""
    row = connection.execute(sql("halt_tallying" if patient else "try_tallying")).fetchone()
    mine = patient or row == (True,)
    try:
        yield mine
    finally:
        if mine and not connection.closed:
            connection.execute(sql("end_tallying"))


@contextmanager
def one_moment(connection: Connection) -> Iterator[None]:
    """A transaction that sees one moment of the database, and may take its time."""
    for query in ("create_fresh", "create_parting"):
        connection.execute(sql(query))
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute("SET LOCAL work_mem = '64MB'")
        yield


def catch_up(connection: Connection) -> None:
    """Add what is new to the totals; in a transaction of one moment."""
    last = last_of(connection)
    if last is None or last.ahead:
        _recount(connection)
        return
    _leave_out(connection)
    parameters = {**_since(last), "some": RECENT_AT_ONCE, "kept": RECENT}
    connection.execute("SET LOCAL enable_seqscan = off")
    filled = connection.execute(sql("fill_fresh"), parameters).rowcount
    if filled:
        connection.execute("ANALYZE fresh")
        connection.execute("SET LOCAL enable_seqscan = on")
        connection.execute("SET LOCAL enable_nestloop = off")  # new days are joined with new days
        connection.execute(sql("tally_days"), parameters)
        connection.execute("SET LOCAL enable_nestloop = on")
        for query in ("tally_hours", "note_recent", "trim_recent"):
            connection.execute(sql(query), parameters)
    connection.execute(sql("merge_moves"), {"many": MANY_MOVES})
    connection.execute(sql("note_tally"))
    log.info("tallied", extra={"rows": filled})


def _recount(connection: Connection) -> None:
    connection.execute(sql("forget_tallies"))
    connection.execute(sql("disown_events"))
    for query in ("recount_days", "recount_hours", "recount_moves"):
        connection.execute(sql(query), {"kept": RECENT})
    connection.execute(sql("note_tally"))
    log.info("tallied anew")


def _since(last: Last | None) -> dict[str, Any]:
    if last is None or last.ahead:
        return {"xmin": 0, "xmax": 0, "snapshot": "1:1:"}
    return {"xmin": last.xmin, "xmax": last.xmax, "snapshot": last.snapshot}


def note_leaving(connection: Connection, whom: dict[str, Any]) -> None:
    """Note what an erasure takes of a customer, unless that was done; what is stored of the customer from now on isn't
    counted before the erasure has ended. In a transaction during which nobody stores events."""
    if connection.execute(sql("begin_erasing"), whom).rowcount:
        connection.execute(sql("note_leaving"), whom)


def leave_out(connection: Connection) -> None:
    """Take those who were erased out of the totals, unless somebody else changes these now: then the next one does."""
    if not leaving(connection):
        return
    with alone(connection) as mine:
        if mine:
            with one_moment(connection):
                _leave_out(connection)


def leaving(connection: Connection) -> bool:
    """Whether somebody who was erased may still be in the totals."""
    return connection.execute(sql("anybody_leaving")).fetchone() == (True,)


def _leave_out(connection: Connection) -> None:
    if connection.execute(sql("fill_parting"), _since(last_of(connection))).rowcount:
        connection.execute("ANALYZE parting")
        for query in ("recent", "hours", "returns", "days"):
            connection.execute(sql(f"leave_out_{query}"))
        connection.execute(sql("drop_emptied"))


def prune(connection: Connection, events: datetime | None, rollups: datetime | None) -> None:
    """Forget the hours and the days before these moments, as far as there are any; before what they count is pruned."""
    if not (events or rollups):
        return
    with alone(connection, patient=True), one_moment(connection):
        _leave_out(connection)
        if events:
            connection.execute(sql("prune_tallied_hours"), {"before": events})
        if rollups:
            connection.execute(sql("prune_tallied_days"), {"before": rollups.date()})


def settle(process: Process) -> None:
    """Make the moves between levels add up to how many customers are at each now: a duty of the clock."""
    found = process.connection().execute(sql("settle_moves")).rowcount
    if found:
        log.warning("levels were counted wrong", extra={"levels": found})


def move_risks(connection: Connection, account_id: int, customer_ids: list[str], sign: int) -> None:
    """Count how these customers' risks moved between the levels, or take that back."""
    parameters = {"account_id": account_id, "customer_ids": customer_ids, "sign": sign}
    connection.execute(sql("move_risks"), parameters)
