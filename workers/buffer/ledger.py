"""The ledger of a lane: accepted = stored + duplicate + dead + erased + unresolved + moved + in the buffer. Moved
events are accepted by another cell. Those that lodge with a cell (see lodging.py) count in its buffer until they move.

`accepted` and `settled` move in the same scripts as the entries do, and what became of the events with `settled`; one
script reads it all, so that the sum is right at any moment.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from workers.buffer.lanes import Lane

STALLED_SECONDS = 60.0
AHEAD_SECONDS = 1.0  # of Redis's clock, by which an id may be

# KEYS: stream, ledger, outcomes.
READ = """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return {
  redis.call('TIME'), redis.call('XLEN', KEYS[1]), first and first[1] or false,
  redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])
}
"""


class Ledger(NamedTuple):
    """A lane's counts of events, and how its buffer moves."""

    accepted: int
    settled: int
    stored: int
    duplicate: int
    dead: dict[str, int]  # by reason
    erased: int
    unresolved: int  # they wait in a table for the address of their user id
    entries: int
    oldest_seconds: float  # how long the first entry waits, or less if Redis's clock has gone back
    settled_seconds: float | None  # since events last left the buffer; None: never
    moved: int = 0  # to another cell
    lodging: int = 0  # events of other cells that wait here

    @property
    def buffered(self) -> int:
        """The number of events in the buffer."""
        return (self.accepted - self.settled - self.lodging if self.entries else 0) + self.lodging

    @property
    def unaccounted(self) -> int:
        """The number of missing events (below 0: counted twice). Anything but 0 is a fault."""
        became = self.stored + self.duplicate + sum(self.dead.values()) + self.erased + self.unresolved + self.moved
        return self.accepted - became - self.buffered

    @property
    def stalled_seconds(self) -> float:
        """The time for which entries have waited while nothing was stored; 0 if that is under STALLED_SECONDS."""
        seconds = (
            self.oldest_seconds if self.settled_seconds is None else min(self.oldest_seconds, self.settled_seconds)
        )
        return seconds if self.entries and seconds >= STALLED_SECONDS else 0.0


def queue_read(pipeline: Any, lane: Lane) -> None:
    """Put the reading of a lane's ledger into a pipeline; `parse` takes the reply."""
    pipeline.eval_ro(READ, 3, lane.stream, lane.ledger, lane.outcomes)


def parse(reply: Any) -> Ledger:
    """Returns the ledger from the reply to `queue_read`."""
    (seconds, micros), entries, first, ledger, outcomes = reply
    now = int(seconds) + int(micros) / 1e6
    moved, became = _parse_fields(ledger), _parse_fields(outcomes)
    settled_at = became.get("settled_at")
    settled_seconds = None if settled_at is None else max(0.0, now - settled_at)
    lodged, left = moved.get("lodged", 0), moved.get("left", 0)
    return Ledger(
        accepted=moved.get("accepted", 0) + lodged,
        settled=moved.get("settled", 0) + left,
        stored=became.get("stored", 0),
        duplicate=became.get("duplicate", 0),
        dead={field.removeprefix("dead:"): n for field, n in became.items() if field.startswith("dead:")},
        erased=became.get("erased", 0),
        unresolved=became.get("unresolved", 0),
        entries=entries,
        oldest_seconds=_find_age(first, now, settled_seconds) if first else 0.0,
        settled_seconds=settled_seconds,
        moved=became.get("moved", 0) + left,
        lodging=lodged - left,
    )


def merge(ledgers: Sequence[Ledger]) -> Ledger:
    """Returns the ledger of a lane over several cells: the counts in sum, the waiting of the one that is worst off.
    What moved from one to another counts once."""
    if len(ledgers) == 1:
        return ledgers[0]
    worst = max(ledgers, key=lambda ledger: (ledger.stalled_seconds, ledger.oldest_seconds))
    settled = [ledger.settled_seconds for ledger in ledgers if ledger.settled_seconds is not None]
    return Ledger(
        accepted=sum(ledger.accepted - ledger.moved for ledger in ledgers),
        settled=sum(ledger.settled - ledger.moved for ledger in ledgers),
        stored=sum(ledger.stored for ledger in ledgers),
        duplicate=sum(ledger.duplicate for ledger in ledgers),
        dead=count_dead(ledgers),
        erased=sum(ledger.erased for ledger in ledgers),
        unresolved=sum(ledger.unresolved for ledger in ledgers),
        entries=sum(ledger.entries for ledger in ledgers),
        oldest_seconds=worst.oldest_seconds,
        settled_seconds=worst.settled_seconds if worst.stalled_seconds else min(settled, default=None),
        lodging=sum(ledger.lodging for ledger in ledgers),
    )


def _find_age(first: bytes, now: float, settled_seconds: float | None) -> float:
    """Returns how long the first entry waits. If Redis's clock has gone back, ids stay ahead of it and say nothing:
    then it is the time since events were last stored."""
    age = now - int(first.split(b"-")[0]) / 1000
    return max(age, 0.0) if age > -AHEAD_SECONDS else settled_seconds or 0.0


def count_dead(ledgers: Iterable[Ledger]) -> dict[str, int]:
    """Returns the dead events of several lanes, by reason."""
    total: dict[str, int] = {}
    for ledger in ledgers:
        for reason, events in ledger.dead.items():
            total[reason] = total.get(reason, 0) + events
    return total


def describe_stalls(ledgers: Mapping[str, Ledger]) -> Iterator[str]:
    """Yields the lanes in which events wait and none is stored, in words. `ledgers`: by the lane's name."""
    for name, ledger in ledgers.items():
        if seconds := ledger.stalled_seconds:
            yield f"{ledger.buffered} {name} events wait, and none was stored for {seconds:.0f} seconds"


def _parse_fields(flat: list[bytes]) -> dict[str, int]:
    return {field.decode(): int(number) for field, number in zip(flat[::2], flat[1::2], strict=True)}
