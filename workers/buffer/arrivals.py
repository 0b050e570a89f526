"""Accounts whose history is still arriving. A risk that is computed meanwhile is provisional.

The door notes for each account its latest entry in the history lane, in the script that writes the entry. History is
arriving while that entry waits in the stream, and for QUIET_SECONDS after it was written: an import sends the next
batch by then. A producer that sends a late event every few seconds counts as an import for LONGEST_SECONDS.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from redis import Redis

from workers.buffer.lanes import HISTORY, LANES, LIVE, Lane

QUIET_SECONDS = 5.0
LONGEST_SECONDS = 3600.0
BEHIND_SECONDS = 600.0  # live events that wait for longer: a silence may be ours


class Arrivals(NamedTuple):
    """The accounts whose history is arriving; `behind` is True while live events have waited for too long."""

    account_ids: set[int]
    behind: bool

    def hold(self, account_id: int) -> bool:
        """Returns True if this account's risks are provisional."""
        return self.behind or account_id in self.account_ids


def find_arrivals(
    redis: Redis, account_ids: Iterable[int] | None = None, lanes: Mapping[str, Lane] = LANES
) -> Arrivals:
    """Returns what is arriving for these accounts, or for all, in a cell's lanes."""
    wanted = None if account_ids is None else [str(account_id) for account_id in account_ids]
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for lane in (lanes[LIVE.name], lanes[HISTORY.name]):
        pipeline.xrange(lane.stream, count=1)
    if wanted is None:
        pipeline.hgetall(lanes[HISTORY.name].arrivals)
    elif wanted:
        pipeline.hmget(lanes[HISTORY.name].arrivals, wanted)
    reply: list[Any] = pipeline.execute()
    now_ms = reply[0][0] * 1000 + reply[0][1] // 1000
    live, history = (_first_id(entries) for entries in reply[1:3])
    notes = reply[3] if wanted is None else dict(zip(wanted, reply[3] if wanted else (), strict=True))
    arriving = {int(account_id) for account_id, note in notes.items() if note and _is_arriving(note, history, now_ms)}
    return Arrivals(arriving, live is not None and now_ms - live[0] > BEHIND_SECONDS * 1000)


def _is_arriving(note: bytes, first: tuple[int, int] | None, now_ms: int) -> bool:
    """`note` is when the import began (epoch milliseconds), the id of the account's latest entry, and when that was
    written: ids stay ahead for as long as Redis's clock once was. Places ahead were written before it went back."""
    since, entry_id, written_at = note.split(b" ")
    if first is not None and first <= _parse_id(entry_id):
        return True
    return abs(now_ms - int(written_at)) < QUIET_SECONDS * 1000 and abs(now_ms - int(since)) < LONGEST_SECONDS * 1000


def _first_id(entries: list[tuple[bytes, Any]]) -> tuple[int, int] | None:
    return _parse_id(entries[0][0]) if entries else None


def _parse_id(entry_id: bytes) -> tuple[int, int]:
    moment, _, number = entry_id.partition(b"-")
    return int(moment), int(number)
