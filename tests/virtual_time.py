"""A loop whose clock stands still while anything is done, and jumps where it would wait: what is awaited is measured
exactly, however busy the machine is."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

ARRIVAL_SECONDS = 0.05  # of real time that what is under way on this machine may take before the clock jumps


class JumpingSelector(selectors.DefaultSelector):
    """Waits for no longer than something may still arrive; adds up how long it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Returns what is ready; if nothing is, the time-out is over at once."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, ARRIVAL_SECONDS))
        if not ready:
            self.waited += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose time is the sum of what was waited for."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Returns the time in seconds, from 0 on."""
        return self._jumping.waited


def run(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Returns the result, and for how many seconds of the loop's own time it was waited for."""
    loop = JumpingLoop()
    try:
        return loop.run_until_complete(work), loop.time()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
