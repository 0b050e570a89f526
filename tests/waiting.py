"""Waiting for a condition, in place of sleeping."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SOON = 15.0  # seconds that "at once" may take on a machine that is busy with other things


def wait_until(condition: Callable[[], T], timeout: float = 30.0, interval: float = 0.02) -> T:
    """The first true value of the condition. Fails the test if there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} seconds"
        pause.wait(interval)
    return value
