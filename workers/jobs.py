"""The RQ jobs: one-line adapters over plain functions. They carry no arguments; what they need, their process has."""

from workers import ingest, rescore
from workers.lanes import HISTORY, LIVE
from workers.process import Process

current: Process | None = None  # set once, by the process that runs the jobs


def _process() -> Process:
    assert current is not None, "jobs run under `python -m workers`"
    return current


def ingest_live() -> None:
    """Drain the live lane."""
    ingest.drain(_process(), LIVE)


def ingest_history() -> None:
    """Drain the history lane."""
    ingest.drain(_process(), HISTORY)


def score() -> None:
    """Rescore the customers that are due."""
    rescore.drain(_process())
