"""Waiting for Postgres: an outage is tried through, never a reason to lose or to bury anything."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from rq.timeouts import BaseTimeoutException

from workers.logs import first_line
from workers.process import Process

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 20.0  # how long a ticket tries to reach Postgres before it hands over to the next

BAD_DATA = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)

T = TypeVar("T")


def is_outage(error: psycopg.Error) -> bool:
    """Whether Postgres, and not the data, is the trouble."""
    return not isinstance(error, BAD_DATA)


def through_outages(process: Process, work: Callable[[], T]) -> T | None:
    """Do it, again and again while Postgres is away; None when it stayed away for long or the process is to stop.

    What `work` does must be safe to do twice: a connection may be lost after its COMMIT was carried out. Raises
    BaseTimeoutException when the time of the job is up.
    """
    give_up = time.monotonic() + OUTAGE_SECONDS
    attempt = 0
    while True:
        try:
            return work()
        except psycopg.Error as error:
            if ended := _time_is_up(error):
                raise ended from None
            if not is_outage(error):
                raise
            reason = f"Postgres can't do it now: {first_line(error)}"
            log.warning(reason, extra={"sqlstate": error.sqlstate, "attempt": attempt})
            process.pulse.trouble(reason)
            process.disconnect()
        if process.stopping.is_set() or time.monotonic() > give_up:
            return None
        process.pause(attempt)
        attempt += 1


def _time_is_up(error: BaseException) -> BaseException | None:
    """RQ's interruption, where all that is seen is psycopg's trouble with leaving what was interrupted."""
    while context := error.__context__:
        if isinstance(context, BaseTimeoutException):
            return context
        error = context
    return None
