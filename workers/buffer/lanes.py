"""The two lanes of a cell, and the names of everything that they keep in Redis."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from workers.cells import Cell
from workers.redis import PREFIX
from workers.tickets import mark_key

GROUP = "ingest"  # the consumer group of all streams


class Lane(NamedTuple):
    """Live events must not wait behind an import: each lane has its own stream, RQ queue and workers."""

    name: str
    queue: str
    share: float  # of the buffer's cap, up to which this lane is taken
    prefix: str = PREFIX  # of the cell's keys

    @property
    def is_history(self) -> bool:
        """True for the lane of imports."""
        return self.name == HISTORY.name

    @property
    def stream(self) -> str:
        """The stream of entries that wait to be stored."""
        return f"{self.prefix}:buffer:{self.name}"

    @property
    def other(self) -> "Lane":
        """The other lane of the cell."""
        return (LIVE if self.is_history else HISTORY)._replace(prefix=self.prefix)

    @property
    def ledger(self) -> str:
        """A hash that counts events: `accepted` into the stream, `settled` out of it; and of other cells' events
        those that `lodged` here, and that `left`."""
        return f"{self.prefix}:ledger:{self.name}"

    @property
    def outcomes(self) -> str:
        """A hash that counts what became of the events that left the stream: `stored`, `duplicate`, `erased`,
        `unresolved`, `dead:REASON`; they add up to the ledger's `settled`. `settled_at` is the last time (epoch
        seconds)."""
        return f"{self.prefix}:outcomes:{self.name}"

    @property
    def attempts(self) -> str:
        """A hash that counts attempts at entries that failed, see attempts.py."""
        return f"{self.prefix}:attempts:{self.name}"

    @property
    def mark(self) -> str:
        """The key that is set while a ticket of the cell waits, see tickets.py."""
        return mark_key(self.queue, self.prefix)

    @property
    def arrivals(self) -> str:
        """A hash of the cell: account → its latest entry in the history lane, see arrivals.py."""
        return f"{self.prefix}:arrivals"


LIVE = Lane("live", "ingest", 1.0)
HISTORY = Lane("history", "import", 0.5)
LANES = {lane.name: lane for lane in (LIVE, HISTORY)}
HISTORY_AFTER_SECONDS = 24 * 3600  # a request whose newest event is older than this takes the history lane


@lru_cache
def lanes_of(cell: Cell) -> Mapping[str, Lane]:
    """Returns the lanes of a cell, by name."""
    return {name: lane._replace(prefix=cell.prefix) for name, lane in LANES.items()}
