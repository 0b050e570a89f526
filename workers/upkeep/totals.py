"""The totals that analytics reads, kept beside the line: storing an event never waits for them.

A tally sees one moment of the database, adds the events that the tally before it did not see (snapshots.py), and notes
its own snapshot, in one transaction: every event is counted once. While events wait to be stored it rests for many
times as long as it worked, so a flood pays little.

How many customers sent an event between any two days can't be summed from days. It is the number of customers for whom
a day within them is the first one: those who returned on such a day after a day before all of them. So returns are
counted: customers by day and by their previous day with the event.
"""

import logging
import threading
from datetime import datetime

import psycopg

from workers.process import Process
from workers.store import Connection, only_row, presence, sql
from workers.store.locks import Lock, holding
from workers.upkeep import erased_totals, level_moves, recount
from workers.upkeep.snapshots import LastTally, counted_by, one_moment, read_last

log = logging.getLogger(__name__)

REST = 50  # times the time worked, while events wait to be stored; or else this long
ENOUGH_REST_SECONDS = 60.0
LONG_WORK_SECONDS = 60.0  # the longer a tally took beyond this, the shorter the rest
QUIET_REST = 10  # times the time worked, while none do; or else this long
ENOUGH_QUIET_REST_SECONDS = 5.0
MOST_EVENTS = 20_000  # of a tally within a job; more have a thread
RECOUNT_SECONDS = 1.0  # of a recount within a job; more has a thread


def drain(process: Process) -> None:
    """Tally new events, unless it is time to rest. After an error of Postgres, the next call tries again."""
    try:
        connection = process.connection()
        erased_totals.leave_out(connection)
        last = read_last(connection)
        if not (last and must_rest(last, _busy(process))) and not tally_few(connection):
            threading.Thread(target=_tally_long, args=(process,), name="tally", daemon=True).start()
    except psycopg.Error as error:
        _warn(error)
        process.disconnect()


def is_due(process: Process) -> bool:
    """Returns whether there are events to tally now, or erased customers to leave out."""
    connection = process.connection()
    last = read_last(connection)
    resting = last is not None and must_rest(last, _busy(process))
    return erased_totals.is_due(connection) or (not resting and _count_new(connection, last, 1) > 0)


def tally_few(connection: Connection) -> bool:
    """Tally new events, if no other process does. Returns False if there are more than a job has time for."""
    with holding(connection, Lock.TOTALS) as ours:
        if not ours:
            return True
        last = read_last(connection)
        if last is None or last.ahead:
            return recount.advance(connection, RECOUNT_SECONDS)
        count = _count_new(connection, last, MOST_EVENTS)
        if count == MOST_EVENTS:
            return False
        if count:
            catch_up(connection)
    return True


def tally(connection: Connection) -> bool:
    """Bring the totals up to now. Returns False if another process has the right to change them."""
    with holding(connection, Lock.TOTALS) as ours:
        if ours:
            catch_up(connection)
        return ours


def catch_up(connection: Connection) -> None:
    """Bring the totals up to now. The caller has the right to change them (Lock.TOTALS)."""
    while recount.is_needed(connection):
        recount.advance(connection, ENOUGH_REST_SECONDS)
    _add(connection)


def _add(connection: Connection) -> None:
    with one_moment(connection):
        add_new(connection)
    connection.execute(sql("forget_arrived"))  # apart from the tally, so that nobody waits for it


def add_new(connection: Connection) -> None:
    """Add new events to the totals, in a transaction of one moment."""
    last = read_last(connection)
    erased_totals.subtract(connection)
    parameters = {**counted_by(last), "kept": recount.RECENT}
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
    level_moves.merge_moves(connection)
    connection.execute(sql("note_tally"))
    log.info("tallied", extra={"rows": filled})


def prune(connection: Connection, events: datetime | None, rollups: datetime | None) -> None:
    """Forget the hours before `events` and the days before `rollups`; the caller prunes what they count afterwards."""
    if not (events or rollups):
        return
    with holding(connection, Lock.TOTALS, patient=True), one_moment(connection):
        erased_totals.subtract(connection)
        if events:
            connection.execute(sql("prune_tallied_hours"), {"before": events})
        if rollups:
            connection.execute(sql("prune_tallied_days"), {"before": rollups.date()})


def _tally_long(process: Process) -> None:
    """A tally that takes longer than a job may. If the process ends meanwhile, nothing of it has happened; of a recount
    what was counted stays."""
    try:
        with (
            presence.enter(process.cell) as connection,
            holding(connection, Lock.TOTALS) as ours,
        ):
            while ours and recount.is_needed(connection):
                if not recount.advance(connection, ENOUGH_REST_SECONDS, process.stopping.is_set):
                    ours = not process.stopping.is_set()
            if ours:
                _add(connection)
    except psycopg.Error as error:
        _warn(error)


def _warn(error: psycopg.Error) -> None:
    log.warning("Postgres can't tally now: %s", str(error).partition("\n")[0])


def must_rest(last: LastTally, busy: bool) -> bool:
    """Returns whether it is time to rest: long while events wait to be stored, so that they don't wait for this. But
    less, the more there was to tally: so the totals follow any stream that a tally can follow at all."""
    if busy:
        enough = ENOUGH_REST_SECONDS * min(1.0, LONG_WORK_SECONDS / max(last.worked_seconds, 0.001))
        return last.rested_seconds < min(REST * last.worked_seconds, enough)
    return last.rested_seconds < min(QUIET_REST * last.worked_seconds, ENOUGH_QUIET_REST_SECONDS)


def _busy(process: Process) -> bool:
    """Returns whether events wait to be stored."""
    return any(process.redis.xlen(lane.stream) for lane in process.lanes.values())


def _count_new(connection: Connection, last: LastTally | None, limit: int) -> int:
    """Returns how many events are not counted, at most `limit`."""
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")  # few of many, whatever the planner thinks
        (count,) = only_row(connection.execute(sql("count_untallied"), {**counted_by(last), "limit": limit}))
    return int(count)
