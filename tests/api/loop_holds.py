"""The time for which requests hold a web process's event loop, in processor time: so a busy machine makes no
difference.

Two things hold it: a step of a task, and a single call of a C function in another thread, during which that thread has
the interpreter to itself.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api import bodies


class Holds:
    """The longest step of the loop, and the longest call beside it, in seconds, with what they were."""

    def __init__(self) -> None:
        self.step = (0.0, "")
        self.call = (0.0, "")
        self._calls: list[float | None] = []

    @property
    def longest(self) -> float:
        """The longest time for which nobody else was served."""
        return max(self.step[0], self.call[0])

    def note_step(self, seconds: float, handle: object) -> None:
        """Note a step of the loop."""
        if seconds > self.step[0]:
            self.step = seconds, repr(handle)

    def profile(self, frame: Any, event: str, function: Any) -> None:
        """Note each call of a C function that calls nothing else. To be set with sys.setprofile."""
        if event == "c_call":
            if self._calls:
                self._calls[-1] = None
            self._calls.append(time.thread_time())
        elif event == "call":
            if self._calls:
                self._calls[-1] = None
        elif event in ("c_return", "c_exception") and self._calls:
            began = self._calls.pop()
            if began is not None and (seconds := time.thread_time() - began) > self.call[0]:
                self.call = seconds, function.__qualname__

    def __str__(self) -> str:
        (step, what), (call, function) = self.step, self.call
        return f"a step of {step * 1000:.1f} ms ({what[:200]}), a call of {call * 1000:.1f} ms ({function})"


@contextmanager
def watched() -> Iterator[Holds]:
    """Watch the loops of this process, and the thread of long bodies, until the end of the block."""
    holds, run = Holds(), asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        holds.note_step(time.thread_time() - began, handle)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign,assignment]
    bodies._thread.submit(sys.setprofile, holds.profile).result()
    gc.freeze()  # as a web process does: what is there now is not looked at again
    try:
        yield holds
    finally:
        bodies._thread.submit(sys.setprofile, None).result()
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
