"""The times of further attempts at a message that was not delivered."""

import random
from typing import Final

FIRST_PAUSES: Final = (10.0, 60.0, 300.0, 1800.0)  # seconds, after the first attempts
HOUR: Final = 3600.0
JITTER: Final = 0.1
GONE: Final = 410


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt, after so many: 10 s, 1 min, 5 min, 30 min, then hours, with jitter."""
    pause = FIRST_PAUSES[attempts - 1] if attempts <= len(FIRST_PAUSES) else HOUR
    return pause * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311
