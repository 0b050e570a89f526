"""The clock of an account whose tracking is out: seen by its volume, kept as a row of `outages`, heeded by rescoring.

While an outage lasts, risks are computed as of its beginning and marked `stale_input`; afterwards its time counts as
silence for nobody (see scoring/pauses.py). Outages begin and end on the hour, and are looked for in whole hours only.
"""

import logging
import time
from typing import NamedTuple

import numpy as np

from scoring import outages
from scoring.outages import HOUR
from scoring.pauses import Pause
from scoring.rollup import Floats
from workers.process import Process
from workers.store import Connection, sql
from workers.tracking import volume

log = logging.getLogger(__name__)

DUE_AT_ONCE = 10_000  # customers that a tick makes due, where the flag on their scores is out of date


class Outage(NamedTuple):
    """An outage in hours since 1970; `end_hour` is None while it lasts."""

    first_hour: int
    end_hour: int | None


def watch(process: Process) -> None:
    """Look at every account: a duty of the clock."""
    end_hour = int(time.time() // HOUR)
    for (account_id,) in process.connection().execute(sql("list_account_ids")).fetchall():
        look(process, account_id, end_hour)


def look(process: Process, account_id: int, end_hour: int) -> None:
    """Begin or end an account's outage as of an hour, and make due whose score has to say so."""
    connection = process.connection()
    known = outages_of(connection, account_id)
    volumes = volume.read(process.redis, account_id, end_hour)
    if known and known[-1].end_hour is None:
        _end(connection, account_id, known, volumes, end_hour)
    else:
        _begin(connection, account_id, known, volumes, end_hour)
    if known or outages_of(connection, account_id):
        connection.execute(sql("make_stale_due"), {"account_id": account_id, "limit": DUE_AT_ONCE})


def outages_of(connection: Connection, account_id: int) -> list[Outage]:
    """The outages of an account that still matter, oldest first."""
    return [Outage(*row) for row in connection.execute(sql("list_outages"), {"account_id": account_id})]


def pauses_of(connection: Connection, account_id: int, now: float) -> tuple[list[Pause], bool]:
    """The pauses of an account's clock, and whether one lasts on."""
    known = outages_of(connection, account_id)
    pauses = [Pause(one.first_hour * HOUR, now if one.end_hour is None else one.end_hour * HOUR) for one in known]
    return pauses, any(one.end_hour is None for one in known)


def _begin(connection: Connection, account_id: int, known: list[Outage], volumes: Floats, end_hour: int) -> None:
    marked = _marked(known, end_hour)
    if not outages.is_out(volumes, marked):
        return
    first_hour = end_hour - outages.hours_out(volumes, marked)
    if known and known[-1].end_hour is not None:
        first_hour = max(first_hour, known[-1].end_hour)
    connection.execute(sql("begin_outage"), {"account_id": account_id, "first_hour": first_hour})
    log.warning("tracking is out: its clock stands still", extra={"account_id": account_id, "first_hour": first_hour})


def _end(connection: Connection, account_id: int, known: list[Outage], volumes: Floats, end_hour: int) -> None:
    marked = _marked(known, end_hour)
    if not outages.is_back(volumes, marked):
        return
    back_hour = end_hour - outages.hours_back(volumes, marked)
    connection.execute(sql("end_outage"), {"account_id": account_id, "end_hour": back_hour})
    log.warning("tracking is back: its clock goes on", extra={"account_id": account_id, "end_hour": back_hour})


def _marked(known: list[Outage], end_hour: int) -> outages.Known:
    """Which of the hours that are read lie in an outage."""
    hours = np.arange(end_hour - volume.HOURS, end_hour)
    marked = np.zeros(volume.HOURS, dtype=bool)
    for one in known:
        marked |= (hours >= one.first_hour) & (hours < (end_hour if one.end_hour is None else one.end_hour))
    return marked
