"""Receipts of entries whose events are in the tables, while the entries may still be in the buffer.

A worker saves in the transaction that stores a batch what became of each entry. If it dies before the entries have left
the buffer, they are delivered again: the next worker finds the receipt, and counts what became of them then, not what
would become of them now. So the ledger is exact, over crashes too. A receipt is deleted when its entry has left.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis import Redis

from workers.buffer.entries import BEGINNING
from workers.buffer.lanes import LANES, Lane
from workers.buffer.stream import EventCounts, Reader, StreamEntry
from workers.store import Connection, sql

KEPT_SECONDS = 600  # a Redis that loses its last second of writes may bring back what had left
PRUNED_TOGETHER = 5_000


def find_receipts(connection: Connection, lane: Lane, batch: Sequence[StreamEntry]) -> dict[bytes, EventCounts]:
    """Returns what became of those entries that are stored already, by entry id."""
    rows = connection.execute(sql("find_landed"), _keys(lane, batch))
    return {entry_id.encode(): counts for entry_id, counts in rows}


def save_receipts(
    connection: Connection, lane: Lane, batch: Sequence[StreamEntry], outcomes: Mapping[bytes, EventCounts]
) -> None:
    """Save what became of entries. Raises UniqueViolation if another worker has stored one of them meanwhile."""
    texts = [msgspec.json.encode(outcomes[entry.id]).decode() for entry in batch]
    connection.execute(sql("note_landed"), {**_keys(lane, batch), "became": texts})


def share_out(batch: Iterable[StreamEntry], totals: Counter[str]) -> dict[bytes, EventCounts]:
    """Share a batch's totals out among its entries. The sums are right, and each entry's too; which of a batch's
    duplicates came in which entry isn't known. Events that are missing in `totals` count as duplicates."""
    unassigned = [(outcome, events) for outcome, events in totals.items() if events]
    return {entry.id: _assign(unassigned, entry.events) for entry in batch}


def _assign(unassigned: list[tuple[str, int]], events: int) -> EventCounts:
    share: Counter[str] = Counter()
    while events:
        outcome, left = unassigned.pop() if unassigned else ("duplicate", events)
        assigned = min(left, events)
        share[outcome] += assigned
        events -= assigned
        if left > assigned:
            unassigned.append((outcome, left - assigned))
    return share


def prune(connection: Connection, redis: Redis, lanes: Mapping[str, Lane] = LANES) -> None:
    """Delete the receipts of entries that left the buffer a while ago."""
    for lane in lanes.values():
        after = ""
        while old := _list_old(connection, lane, after):
            connection.execute(sql("delete_landed"), {"lane": lane.name, "ids": _select_gone(redis, lane, old)})
            after = old[-1]


def acknowledge_stored(connection: Connection, redis: Redis, lane: Lane) -> None:
    """Have all entries leave the buffer whose events are in the tables: their worker died before it could say so."""
    reader = Reader(redis, lane, "receipts")
    for entries in reader.list_pending(PRUNED_TOGETHER):
        if outcomes := find_receipts(connection, lane, entries):
            reader.acknowledge(outcomes)


def _list_old(connection: Connection, lane: Lane, after: str) -> list[str]:
    page = {"lane": lane.name, "seconds": KEPT_SECONDS, "after": after, "limit": PRUNED_TOGETHER}
    return [entry_id for (entry_id,) in connection.execute(sql("old_landed"), page)]


def _select_gone(redis: Redis, lane: Lane, ids: Sequence[str]) -> list[str]:
    pipeline = redis.pipeline(transaction=False)
    for entry_id in ids:
        pipeline.xrange(lane.stream, entry_id, entry_id)
    return [entry_id for entry_id, still in zip(ids, pipeline.execute(), strict=True) if not still]


def _keys(lane: Lane, batch: Sequence[StreamEntry]) -> dict[str, Any]:
    """Returns the entries' places in the buffer, and how they begin: with an id of their own, so that an entry of
    another Redis is never taken for ours."""
    return {
        "lane": lane.name,
        "ids": [entry.id.decode() for entry in batch],
        "beginnings": [entry.data[:BEGINNING] for entry in batch],
    }
