"""Waiting for a condition, in place of sleeping."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHARE = 4  # a pause is so many times as long as the look before it: waiting leaves the processors to others
MOST_SECONDS = 0.25  # of a pause
SOON = 15.0  # seconds that "at once" may take on a machine that is busy with other things


def wait_until(condition: Callable[[], T], timeout: float = 30.0, interval: float = 0.02) -> T:
    """The first true value of the condition. Fails the test if there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        began = time.monotonic()
        if value := condition():
            return value
        assert began < deadline, f"not within {timeout} seconds"
        pause.wait(max(interval, min(SHARE * (time.monotonic() - began), MOST_SECONDS)))
