"""The benchmarks by name: each returns the lines of its table."""

from collections.abc import Callable, Mapping

from tests.bench import alerts, cells, door, ingest, lanes, reading, renewal, rescore, steady
from tests.bench.measure import Line
from tests.bench.world import World

BENCHMARKS: Mapping[str, Callable[[World], list[Line]]] = {
    "door": door.run,
    "ingest": ingest.run,
    "lanes": lanes.run,
    "totals": steady.run,
    "rescore": rescore.run,
    "renewal": renewal.run,
    "alerts": alerts.run,
    "reading": reading.run,
    "cells": cells.run,
}
