"""Rounds in turn, medians and a table: the machine is noisy, so nothing is measured once."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

from tests.bench.world import World


class Line(NamedTuple):
    """A line of the table. Without a baseline, the target is that of the figure itself."""

    figure: str
    value: float
    unit: str
    baseline: float | None = None
    target: str = ""

    def cells(self) -> list[str]:
        """The line as it is printed."""
        other = "" if self.baseline is None else number(self.baseline)
        ratio = f"{self.value / self.baseline:.2f}" if self.baseline else ""
        return [self.figure, f"{number(self.value)} {self.unit}", other, ratio, self.target]


Contestant = Callable[[], Sequence[float]]


def interleaved(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Each contestant's figures, the medians of rounds A, B, C, A, B, C, …"""
    measured: dict[str, list[Sequence[float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            measured[name].append(run())
    return {name: [median(column) for column in zip(*runs, strict=True)] for name, runs in measured.items()}


def per_second(count: int, work: Callable[[], object]) -> list[float]:
    """The rate a second of work that does `count` of them."""
    start = time.perf_counter()
    work()
    return [count / (time.perf_counter() - start)]


def table(lines: Sequence[Line]) -> str:
    """The lines under a heading, the numbers flush right."""
    rows = [["", "windback", "baseline", "ratio", "target"], *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(aligned(row, widths) for row in rows)


def facts(world: World) -> str:
    """The circumstances of the figures, in one line."""
    postgres, redis = world.versions()
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "starlette", "redis", "psycopg"))
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {postgres}, {redis}, {packages}"


def aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """A line of a table: its first cell to the left, the others to the right, the last as it is."""
    name, *numbers, target = row
    middle = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=False)]
    return "  ".join([name.ljust(widths[0]), *middle, target]).rstrip()


def number(value: float) -> str:
    """A figure as it is printed."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
