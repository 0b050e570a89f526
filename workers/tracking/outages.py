"""An account's outages of tracking: found by its volume, kept as rows of `outages`, heeded by rescoring.

While an outage lasts, risks are computed as of its beginning and marked `stale_input`. Afterwards its time counts as
silence for nobody (see scoring/pauses.py). Outages begin and end on the hour, and are looked for in whole hours only.
"""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from redis import Redis

from scoring import outages
from scoring.outages import HOUR
from scoring.pauses import Pause
from scoring.rollup import Floats
from workers.store import Connection, sql
from workers.tracking import volume

log = logging.getLogger(__name__)

PASS_SECONDS = 60.0  # outages begin and end on the hour
BUDGET_SECONDS = 0.25  # of a tick of the clock
DUE_AT_ONCE = 10_000  # customers that a tick makes due, where the flag on their scores is out of date


class Outage(NamedTuple):
    """An outage in hours since 1970; `end_hour` is None while it lasts."""

    first_hour: int
    end_hour: int | None

    @property
    def lasts(self) -> bool:
        """True until tracking is back."""
        return self.end_hour is None


class Watch:
    """A pass over all accounts: some of them at a time, so that it never holds the clock for long."""

    def __init__(self) -> None:
        self._left: list[int] = []
        self._began = float("-inf")

    def go_on(self, connection: Connection, redis: Redis) -> None:
        """Look at accounts for BUDGET_SECONDS at most, or begin a pass if the last one began PASS_SECONDS ago."""
        now = time.monotonic()
        if not self._left:
            if now - self._began < PASS_SECONDS:
                return
            self._left, self._began = list_accounts(connection), now
        end_hour = int(time.time() // HOUR)
        while self._left and time.monotonic() - now < BUDGET_SECONDS:
            update_outage(connection, redis, self._left.pop(0), end_hour)


def list_accounts(connection: Connection) -> list[int]:
    """Returns the ids of all accounts."""
    return [account_id for (account_id,) in connection.execute(sql("list_account_ids"))]


def update_outage(connection: Connection, redis: Redis, account_id: int, end_hour: int) -> None:
    """Begin or end an account's outage as of an hour; make the customers due whose score has to show it."""
    before = outages_of(connection, account_id)
    volumes = volume.read(redis, account_id, end_hour)
    if before and before[-1].lasts:
        _end(connection, account_id, before, volumes, end_hour)
    else:
        _begin(connection, account_id, before, volumes, end_hour)
    after = outages_of(connection, account_id)
    if before or after:
        is_out = bool(after) and after[-1].lasts
        parameters = {"account_id": account_id, "is_out": is_out, "limit": DUE_AT_ONCE}
        connection.execute(sql("make_stale_due"), parameters)


def outages_of(connection: Connection, account_id: int) -> list[Outage]:
    """All outages of an account, oldest first."""
    return [Outage(*row) for row in connection.execute(sql("list_outages"), {"account_id": account_id})]


def pauses_of(account_outages: Sequence[Outage], now: float) -> list[Pause]:
    """The pauses of an account's clock in epoch seconds; an outage that lasts pauses it until `now`."""
    return [
        Pause(outage.first_hour * HOUR, now if outage.end_hour is None else outage.end_hour * HOUR)
        for outage in account_outages
    ]


def _begin(connection: Connection, account_id: int, before: list[Outage], volumes: Floats, end_hour: int) -> None:
    marked = _mark_hours(before, end_hour)
    if not outages.is_out(volumes, marked):
        return
    first_hour = end_hour - outages.hours_out(volumes, marked)
    if before and before[-1].end_hour is not None:
        first_hour = max(first_hour, before[-1].end_hour)
    connection.execute(sql("begin_outage"), {"account_id": account_id, "first_hour": first_hour})
    log.warning("tracking is out: its clock stands still", extra={"account_id": account_id, "first_hour": first_hour})


def _end(connection: Connection, account_id: int, before: list[Outage], volumes: Floats, end_hour: int) -> None:
    marked = _mark_hours(before, end_hour)
    if not outages.is_back(volumes, marked):
        return
    back_hour = end_hour - outages.hours_back(volumes, marked)
    connection.execute(sql("end_outage"), {"account_id": account_id, "end_hour": back_hour})
    log.warning("tracking is back: its clock goes on", extra={"account_id": account_id, "end_hour": back_hour})


def _mark_hours(account_outages: list[Outage], end_hour: int) -> outages.OutageMask:
    """Marks the hours that lie in an outage."""
    hours = np.arange(end_hour - volume.HOURS, end_hour)
    marked = np.zeros(volume.HOURS, dtype=bool)
    for outage in account_outages:
        last = end_hour if outage.end_hour is None else outage.end_hour
        marked |= (hours >= outage.first_hour) & (hours < last)
    return marked
