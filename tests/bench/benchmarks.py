"""The benchmarks by name: each returns the lines of its table.

A benchmark's module is imported when it runs: beside an older commit, the others may need what that one doesn't have.
"""

from importlib import import_module

from tests.bench.measure import Line
from tests.bench.world import World

MODULES = {
    "door": "door",
    "ingest": "ingest",
    "lanes": "lanes",
    "totals": "steady",
    "history": "history",
    "rescore": "rescore",
    "renewal": "renewal",
    "alerts": "alerts",
    "reading": "reading",
    "cells": "cells",
}


def run(name: str, world: World) -> list[Line]:
    """Returns the lines of the benchmark of this name."""
    lines: list[Line] = import_module(f"tests.bench.{MODULES[name]}").run(world)
    return lines
