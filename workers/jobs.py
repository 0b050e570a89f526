"""The RQ jobs: one-line adapters over plain functions. They have no arguments; their process has all they need."""

import logging
from collections.abc import Callable

from workers.alerts import deliver as delivering
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest import ingest, resolving
from workers.installation import ForeignRedis
from workers.learning import nightly as nights
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.risk import rebuild as rebuilding
from workers.risk import rescore

log = logging.getLogger(__name__)

current: Process | None = None  # set once, by the process that runs the jobs


FAULT_SECONDS = 5.0  # that a job waits after a fault of ours: the clock calls for the next one at once


def ingest_live() -> None:
    """Drain the live lane."""
    _run(lambda process: ingest.drain(process, LIVE))


def ingest_history() -> None:
    """Drain the history lane."""
    _run(lambda process: ingest.drain(process, HISTORY))


def resolve() -> None:
    """Store events whose user id has an address by now, and move customers whose address has changed."""
    _run(resolving.drain)


def score() -> None:
    """Rescore the customers that are due."""
    _run(rescore.drain)


def rebuild() -> None:
    """Compute risks as of past dates, where history has arrived."""
    _run(rebuilding.drain)


def deliver() -> None:
    """Send the alerts that wait."""
    _run(delivering.drain)


def nightly() -> None:
    """Start what learns by night, in a process of its own."""
    _run(nights.start)


def _is_ours(process: Process) -> bool:
    process.check_installation()
    return True


def _run(work: Callable[[Process], object]) -> None:
    assert current is not None, "jobs run under `python -m workers`"
    try:
        with current.heartbeat.busy():
            if retry_while_unavailable(current, lambda: _is_ours(current)):
                work(current)
    except ForeignRedis as error:
        log.error(str(error))
        current.stopping.wait(FAULT_SECONDS)
        raise
    except Exception:
        log.exception("a job failed; what it was to do stays where it is, and is tried again")
        current.disconnect()  # it may have been interrupted anywhere, in the middle of a statement for one
        current.stopping.wait(FAULT_SECONDS)
        raise
