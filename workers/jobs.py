"""The RQ jobs: one-line adapters over plain functions. Their process has all they need. Where there are several cells,
the argument is the number of one.

Each job imports its own functions: a process that runs one kind of them needs no memory for the others.
"""

import logging
from collections.abc import Callable

from workers import logs
from workers.buffer.lanes import HISTORY, LIVE
from workers.installation import ForeignRedis
from workers.process import MOST_CONNECTED, Process
from workers.retry import retry_while_unavailable

log = logging.getLogger(__name__)

current: Process | None = None  # set once, by the process that runs the jobs


FAULT_SECONDS = 5.0  # that a job waits after a fault of ours: the clock calls for the next one at once


def ingest_live(cell: int | None = None) -> None:
    """Drain the live lane."""
    from workers.ingest import ingest

    _run(lambda process: ingest.drain(process, LIVE), cell, in_a_cell=True)


def ingest_history(cell: int | None = None) -> None:
    """Drain the history lane."""
    from workers.ingest import ingest

    _run(lambda process: ingest.drain(process, HISTORY), cell, in_a_cell=True)


def resolve(cell: int | None = None) -> None:
    """Store events whose user id has an address by now, and move customers whose address has changed."""
    from workers.ingest import resolving

    _run(resolving.drain, cell)


def score(cell: int | None = None) -> None:
    """Rescore the customers that are due."""
    from workers.risk import rescore

    _run(rescore.drain, cell)


def rebuild(cell: int | None = None) -> None:
    """Compute risks as of past dates, where history has arrived."""
    from workers.risk import rebuild as rebuilding

    _run(rebuilding.drain, cell)


def deliver(cell: int | None = None) -> None:
    """Send the alerts that wait."""
    from workers.alerts import deliver as delivering

    _run(delivering.drain, cell)


def nightly() -> None:
    """Start what learns by night, in a process of its own."""
    from workers.learning import nightly as nights

    _run(nights.start)


def _is_ours(process: Process) -> bool:
    process.check_installation()
    return True


def _run(work: Callable[[Process], object], cell: int | None = None, *, in_a_cell: bool = False) -> None:
    """Do a job in a cell, or at home; `in_a_cell` alone for a job that is left from the time of a single cell."""
    assert current is not None, "jobs run under `python -m workers`"
    current.follow()
    process = current.at(cell)
    if in_a_cell and process.cell.number is None and not process.cell.is_single:
        return
    current.disconnect_all(kept=MOST_CONNECTED)
    with logs.about(**process.log_fields):
        _work(process, work)


def _work(process: Process, work: Callable[[Process], object]) -> None:
    try:
        with process.heartbeat.busy():
            if retry_while_unavailable(process, lambda: _is_ours(process)):
                work(process)
    except ForeignRedis as error:
        log.error(str(error))
        process.stopping.wait(FAULT_SECONDS)
        raise
    except Exception:
        log.exception("a job failed; its work stays where it is, and is tried again")
        process.disconnect()  # it may have been interrupted anywhere, in the middle of a statement for one
        process.stopping.wait(FAULT_SECONDS)
        raise
