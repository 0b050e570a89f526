"""Waiting for Postgres: while it is unavailable, work is tried again. Nothing is lost or buried for it."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from rq.timeouts import BaseTimeoutException

from workers.logs import first_line
from workers.process import Process
from workers.store.faults import is_unavailable

log = logging.getLogger(__name__)

RETRY_SECONDS = 20.0  # how long a ticket tries to reach Postgres before it hands over to the next
RETRY_CELL_SECONDS = 1.0  # likewise, where other cells wait for the process

T = TypeVar("T")


def retry_while_unavailable(process: Process, work: Callable[[], T]) -> T | None:
    """Do the work, again and again while Postgres is unavailable. Returns its result, or None when Postgres stayed
    away for RETRY_SECONDS or the process is to stop.

    The work must be safe to do twice: a connection may be lost after its COMMIT was carried out. Raises QueryCanceled
    if a statement takes longer than it may, and BaseTimeoutException when the time of the job is up.
    """
    give_up = time.monotonic() + (RETRY_SECONDS if process.settings.cells == 1 else RETRY_CELL_SECONDS)
    attempt = 0
    while True:
        try:
            return work()
        except psycopg.Error as error:
            if timeout := _find_timeout(error):
                raise timeout from None
            if not is_unavailable(error):
                raise
            reason = f"Postgres can't do it now: {first_line(error)}"
            log.warning(reason, extra={"sqlstate": error.sqlstate, "attempt": attempt})
            process.heartbeat.trouble(reason)
            process.disconnect()
            if isinstance(error, psycopg.errors.QueryCanceled) and time.monotonic() > give_up:
                raise  # the work is too much for one statement: less of it may do
        if process.stopping.is_set() or time.monotonic() > give_up:
            return None
        process.pause(attempt)
        attempt += 1


def _find_timeout(error: BaseException) -> BaseException | None:
    """Returns RQ's interruption, which psycopg may hide behind its own trouble with leaving a statement."""
    while context := error.__context__:
        if isinstance(context, BaseTimeoutException):
            return context
        error = context
    return None
