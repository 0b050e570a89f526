"""The two lanes, and the names of everything that they keep in Redis."""

from typing import NamedTuple

from workers.redis import PREFIX

ARRIVALS = f"{PREFIX}:arrivals"  # a hash: account → its latest entry in the history lane, see arrivals.py
GROUP = "ingest"  # the consumer group of both streams


class Lane(NamedTuple):
    """Live events must not wait behind an import: each lane has its own stream, RQ queue and workers."""

    name: str
    queue: str
    share: float  # of the buffer's cap, up to which this lane is taken

    @property
    def stream(self) -> str:
        """The stream of entries that wait to be stored."""
        return f"{PREFIX}:buffer:{self.name}"

    @property
    def other(self) -> "Lane":
        """The other lane."""
        return HISTORY if self == LIVE else LIVE

    @property
    def ledger(self) -> str:
        """A hash that counts events: `accepted` into the stream, `settled` out of it."""
        return f"{PREFIX}:ledger:{self.name}"


LIVE = Lane("live", "ingest", 1.0)
HISTORY = Lane("history", "import", 0.5)
LANES = {lane.name: lane for lane in (LIVE, HISTORY)}
HISTORY_AFTER_SECONDS = 24 * 3600  # a request whose newest event is older than this takes the history lane
