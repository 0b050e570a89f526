"""What has landed: entries whose events are in the tables, while they may still be in the buffer.

A worker notes in the transaction that stores a batch what became of each entry. Where it dies before the entries have
left the buffer, they are delivered again: whoever reads them finds the note, and counts what became of them then, not
what would become of them now. So the ledger is exact, over crashes too. The notes go when the entries have left.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from workers.buffer.lanes import LANES, Lane
from workers.buffer.stream import Became, Waiting
from workers.process import Process
from workers.store import Connection, sql

KEPT_SECONDS = 600  # a Redis that loses its last second of writes may bring back what had left
PRUNED_TOGETHER = 5_000
BEGINNING = 16  # bytes of an entry: MessagePack's frame and the batch id


def found(connection: Connection, lane: Lane, batch: Sequence[Waiting]) -> dict[bytes, Became]:
    """What became of those of the entries that have landed, by their ids."""
    rows = connection.execute(sql("find_landed"), _keys(lane, batch))
    return {entry_id.encode(): became for entry_id, became in rows}


def note(connection: Connection, lane: Lane, batch: Sequence[Waiting], became: Mapping[bytes, Became]) -> None:
    """Note what became of entries. Raises UniqueViolation where another worker has stored one of them meanwhile."""
    texts = [msgspec.json.encode(became[waiting.id]).decode() for waiting in batch]
    connection.execute(sql("note_landed"), {**_keys(lane, batch), "became": texts})


def shared_out(batch: Iterable[Waiting], became: Counter[str]) -> dict[bytes, Became]:
    """What became of a batch's events, shared out among its entries: the sums are right, and each entry's too; which of
    a batch's duplicates came in which entry isn't known. What is missing in `became` counts as duplicate."""
    open_ = [(outcome, events) for outcome, events in became.items() if events]
    return {waiting.id: _share(open_, waiting.events) for waiting in batch}


def _share(open_: list[tuple[str, int]], events: int) -> Became:
    share: Counter[str] = Counter()
    while events:
        outcome, left = open_.pop() if open_ else ("duplicate", events)
        taken = min(left, events)
        share[outcome] += taken
        events -= taken
        if left > taken:
            open_.append((outcome, left - taken))
    return share


def prune(process: Process) -> None:
    """Delete the notes of entries that have left the buffer a while ago."""
    for lane in LANES.values():
        after = ""
        while old := _old(process.connection(), lane, after):
            process.connection().execute(sql("delete_landed"), {"lane": lane.name, "ids": _gone(process, lane, old)})
            after = old[-1]


def _old(connection: Connection, lane: Lane, after: str) -> list[str]:
    page = {"lane": lane.name, "seconds": KEPT_SECONDS, "after": after, "limit": PRUNED_TOGETHER}
    return [entry_id for (entry_id,) in connection.execute(sql("old_landed"), page)]


def _gone(process: Process, lane: Lane, ids: Sequence[str]) -> list[str]:
    pipeline = process.redis.pipeline(transaction=False)
    for entry_id in ids:
        pipeline.xrange(lane.stream, entry_id, entry_id)
    return [entry_id for entry_id, still in zip(ids, pipeline.execute(), strict=True) if not still]


def _keys(lane: Lane, batch: Sequence[Waiting]) -> dict[str, Any]:
    """Entries' places in the buffer, and how they begin: with an id of their own, so that the places of another Redis
    are never taken for ours."""
    return {
        "lane": lane.name,
        "ids": [waiting.id.decode() for waiting in batch],
        "beginnings": [waiting.entry[:BEGINNING] for waiting in batch],
    }
