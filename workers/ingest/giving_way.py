"""An import gives way to live events where processors are short.

A live event waits for a processor at each of some twenty steps: the worker's, then Postgres's, and so on. Beside an
import it waits for the import's as well, and niceness doesn't reach the import's part in Postgres. So after a batch the
history lane rests for as long as the batch took, if live events came meanwhile and this process had to wait for a
processor; and the next batch isn't read while this one is stored, which would take two processors at once. An import
alone, or on a machine with processors to spare, never rests.

A live event of a customer whom the import has just inserted waits for the transaction that did. So the history lane
inserts new customers in small transactions of their own, before it stores a batch (`transaction.introduce_customers`).
"""

from pathlib import Path
from time import monotonic
from typing import Any

from redis import Redis

from workers.buffer.lanes import Lane

REST = 1.0  # times the time that a batch took
SHORT_OF_PROCESSORS = 0.1  # the time spent waiting for a processor, as a part of the time spent on it
SMALL = 0.25  # of a batch at most, while live events come
SCHEDULER = Path("/proc/self/schedstat")  # nanoseconds on a processor, and waiting for one; Linux alone has it


class GivingWay:
    """The state of both lanes and of the processors when the last batch ended."""

    def __init__(self, redis: Redis, history: Lane) -> None:
        self._redis, self._ledger = redis, history.other.ledger
        self._live_comes = True  # until it is known
        self._look()

    def find_rest(self) -> float:
        """Returns how many seconds to rest after the batch that ended now. Raises RedisError."""
        began, accepted, run, waited = self._began, self._accepted, self._run, self._waited
        self._look()
        self._live_comes = self._accepted > accepted
        is_short = self._waited - waited > SHORT_OF_PROCESSORS * (self._run - run)
        return REST * (self._began - began) if is_short and self._live_comes else 0.0

    def find_size(self, batch_events: int) -> int:
        """Returns how many events the next batch may hold, of at most so many."""
        return max(int(batch_events * SMALL), 1) if self._live_comes else batch_events

    def begin(self) -> None:
        """The rest is over: the next batch begins."""
        self._began = monotonic()

    def _look(self) -> None:
        accepted: Any = self._redis.hget(self._ledger, "accepted")
        self._accepted = int(accepted or 0)
        self._run, self._waited = read_scheduler()
        self.begin()


def read_scheduler() -> tuple[int, int]:
    """Returns how many nanoseconds this process was on a processor, and how many it waited for one; zeros where the
    system doesn't say."""
    try:
        run, waited, _ = SCHEDULER.read_text().split()
    except (OSError, ValueError):
        return 0, 0
    return int(run), int(waited)
