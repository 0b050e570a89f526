"""Events that waited for the address of their user id go through the same store as all others, once it is known.

An ingest worker does it after a batch that held identities; the clock sees to what a crash left over. Each step takes
some events out of the table and stores them in one transaction, so an event is always in exactly one place.
"""

from collections import Counter
from typing import NamedTuple

from workers.buffer.lanes import HISTORY, LANES, LIVE
from workers.buffer.rows import Row, find_user, read_content
from workers.identities import across, changes, forwarding, ledger_moves, moving
from workers.identities.changes import AddressChange
from workers.ingest.transaction import store_parts
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.store import Connection, sql
from workers.tickets import RESOLVE, count_waiting, enqueue
from workers.upkeep import erasure

USERS_TOGETHER = 200
EVENTS_TOGETHER = 5000
KEPT_DAYS = 35  # that events wait for an address
EXPIRED = "never_identified"


class Waited(NamedTuple):
    """An event that waited, and the lane that it came by; None: it was a dead letter."""

    row: Row
    lane: str | None


def issue_job(process: Process) -> None:
    """Issue a job if events wait whose address is known, or customers are to be moved, and no import keeps the workers
    busy. Tell the ledger what has moved. A duty of the clock."""
    _apply_moves(process)
    row = process.connection().execute(sql("any_waiting")).fetchone()
    if row == (True,) and not count_waiting(process.home_redis, HISTORY.queue):
        enqueue(process.home_redis, HISTORY.queue, RESOLVE, "resolve", process.cell.number)


def _apply_moves(process: Process) -> None:
    replicas = process.settings.buffer_replicas
    ledger_moves.apply_moves(process.connection(), process.redis, process.lanes, replicas)


def drain(process: Process) -> int:
    """Move customers whose address has changed, store all events whose address is known by now, and tell the ledger.
    Returns how many events there were."""
    conflicts = retry_while_unavailable(process, lambda: _apply_changes(process))
    changes.warn_of_conflicts(process.warnings, conflicts or ())
    process.warnings.flush_sync(process.home_redis)
    total = 0
    while events := retry_while_unavailable(process, lambda: _resolve_batch(process)):
        total += events
        process.heartbeat.progress()
        if process.stopping.is_set():
            break
    _apply_moves(process)
    retry_while_unavailable(process, lambda: forwarding.deliver(process))
    process.ask("score")
    return total


def _apply_changes(process: Process) -> list[AddressChange]:
    if process.cell.cells > 1:
        return across.apply_changes(process)
    return moving.apply_changes(process.connection())


def expire(process: Process) -> None:
    """Give up events whose address did not become known in time: a duty of the clock."""
    parameters = {"days": KEPT_DAYS, "limit": EVENTS_TOGETHER, "reason": EXPIRED}
    while process.connection().execute(sql("expire_unresolved"), parameters).fetchone() == (EVENTS_TOGETHER,):
        process.heartbeat.progress()


def _resolve_batch(process: Process) -> int:
    return resolve_batch(process.connection(), process.settings.rescore_seconds)


def resolve_batch(connection: Connection, rescore_seconds: float) -> int:
    """Store some of the events whose address is known by now, in one transaction. Returns how many."""
    with connection.transaction():
        erasure.join_storing(connection)
        users = [user for (user,) in connection.execute(sql("take_waiting"), {"limit": USERS_TOGETHER})]
        parameters = {"customer_ids": users, "limit": EVENTS_TOGETHER}
        waited = [_make_waited(*columns) for columns in connection.execute(sql("take_unresolved"), parameters)]
        if len(waited) < EVENTS_TOGETHER:
            connection.execute(sql("end_waiting"), {"customer_ids": users})
        for lane in {event.lane for event in waited}:
            rows = [event.row for event in waited if event.lane == lane]
            counts = store_parts(connection, LANES[lane or LIVE.name], rows, rescore_seconds)
            if lane is not None:
                ledger_moves.note_move(connection, lane, _as_move(counts))
    return len(waited) or len(users)


def _as_move(counts: Counter[str]) -> Counter[str]:
    moved = Counter(counts)
    moved["unresolved"] -= sum(counts.values())
    return moved


def _make_waited(
    account_id: int,
    user_id: str,
    occurred_us: int,
    event_key: int,
    event: str,
    properties: str | None,
    received_us: int,
    identified: bool,
    lane: str | None,
) -> Waited:
    user = find_user(account_id, user_id)
    content = read_content(event, (properties or "").encode())
    return Waited(Row(user.customer_id, occurred_us, event_key, received_us, identified, user, content), lane)
