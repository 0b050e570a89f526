"""Progress on a terminal: share, rate and time left, drawn at most every 200 ms."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from api.words import count_of

REDRAW_SECONDS = 0.2


class ProgressLine:
    """The line on which a file's import is seen; nothing in a pipe."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._began = clock()
        self._drawn = float("-inf")
        self._is_shown = sys.stderr.isatty()

    def __call__(self, count: int, share: float) -> None:
        """Draw the line anew, if it is time to."""
        now = self._clock()
        if self._is_shown and now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            click.echo(f"\r\033[K{self.describe(count, share)}", nl=False, err=True)

    def describe(self, count: int, share: float) -> str:
        """The line: the work done, its speed, and the time that the rest takes."""
        seconds = max(self._clock() - self._began, 1e-3)
        left = f", {_span(seconds * (1 - share) / share)} left" if 0 < share < 1 and seconds > 1 else ""
        return f"{self._path}: {share:.0%}, {count_of(count, 'event')}, {count / seconds:,.0f} a second{left}"


def _span(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
