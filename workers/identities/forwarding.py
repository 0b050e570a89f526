"""Passes on what belongs to another cell: events of a user id, or of a given-up address, whose customer lives there.

The transaction that finds them notes them in a table, in place of storing them; then they are written to the buffer of
their own cell. They keep their keys, so one that is written twice is stored once. Traits go the same way.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from redis.exceptions import RedisError

from workers.buffer.entries import Entry, Identity, Request, encode_entry
from workers.buffer.lanes import LIVE
from workers.buffer.push import push_entry
from workers.buffer.rows import EPOCH, Identification, Row, StoredRow, encode_forwarded
from workers.cells import cell_of
from workers.process import Process
from workers.store import Connection, find_cell, sql

TOGETHER = 100  # notes
TraitsByTime = dict[int, dict[str, Any]]  # by the microsecond at which it was said: traits


def is_elsewhere(connection: Connection, customer_id: str) -> bool:
    """Returns whether a customer belongs to another cell than the one that this connection leads to."""
    cell = find_cell(connection)
    return cell is not None and cell.number is not None and cell_of(customer_id, cell.cells) != cell.number


def divide(connection: Connection, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Returns the rows of this cell's customers, and those of other cells'."""
    cell = find_cell(connection)
    if cell is None or cell.number is None:
        return rows, ()
    here = [row for row in rows if cell_of(row.customer_id, cell.cells) == cell.number]
    return here, [row for row in rows if cell_of(row.customer_id, cell.cells) != cell.number]


def note_events(connection: Connection, rows: Sequence[Row], lane: str | None) -> None:
    """Note events of other cells' customers, in the transaction that would else store them."""
    parts: defaultdict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        parts[_number_of(connection, row.customer_id), row.customer.account_id].append(row)
    for (number, account_id), part in parts.items():
        body = encode_forwarded([StoredRow.of(row) for row in part])
        _note(connection, number, lane, account_id, body, len(part), min(row.received_us for row in part))


def note_identification(connection: Connection, identification: Identification) -> None:
    """Note what came to the buffer of another cell than the person's, in the transaction that would else store it."""
    identity = Identity(
        identification.user_id,
        identification.email,
        msgspec.Raw(msgspec.json.encode(identification.traits)),
        (EPOCH + timedelta(microseconds=identification.stated_us)).isoformat(),
        identification.trusted,
    )
    body = msgspec.json.encode({"events": [], "identities": [identity]})
    _note(
        connection,
        _number_of(connection, identification.subject),
        None,
        identification.account_id,
        body,
        0,
        identification.received_us,
    )


def note_traits(
    connection: Connection, account_id: int, customer_id: str, email: str, traits_by_time: TraitsByTime
) -> None:
    """Note what was said of another cell's customer, in the transaction that would else store it. It counts as received
    now, since no erasure covers it yet."""
    identities = [
        Identity(
            customer_email=email,
            traits=msgspec.Raw(msgspec.json.encode(traits)),
            timestamp=(EPOCH + timedelta(microseconds=stated_us)).isoformat(),
        )
        for stated_us, traits in traits_by_time.items()
    ]
    if identities:
        body = msgspec.json.encode({"events": [], "identities": identities})
        _note(connection, _number_of(connection, customer_id), None, account_id, body, 0, None)


def deliver(process: Process) -> int:
    """Write the notes to the buffers of their cells. Notes that can't be written now stay. Returns how many notes
    were written."""
    if process.cell.number is None:
        return 0
    connection, written = process.connection(), 0
    for (number,) in connection.execute(sql("list_forward_cells")).fetchall():
        try:
            with connection.transaction():
                notes = connection.execute(sql("take_forwards"), {"cell": number, "limit": TOGETHER}).fetchall()
                for note in notes:
                    _write(process.at(number), *note)
        except RedisError as error:
            process.heartbeat.trouble(f"the buffer of cell {number:03} can't be written to: {error}")
        else:
            written += len(notes)
    return written


def _note(
    connection: Connection,
    number: int,
    lane: str | None,
    account_id: int,
    body: bytes,
    events: int,
    received_us: int | None,
) -> None:
    parameters = {"cell": number, "lane": lane or LIVE.name, "account_id": account_id, "events": events}
    connection.execute(sql("note_forward"), {**parameters, "received_us": received_us, "body": body})


def _number_of(connection: Connection, customer_id: str) -> int:
    cell = find_cell(connection)
    assert cell is not None
    return cell_of(customer_id, cell.cells)


def _write(
    there: Process, forward_id: str, lane_name: str, account_id: int, events: int, received_us: int, body: bytes
) -> None:
    lane = there.lanes[lane_name]
    entry = encode_entry(Entry(forward_id.encode(), [Request(account_id, received_us, body)]))
    arriving = [account_id] if lane.is_history else ()
    if push_entry(there.redis, lane, events, entry, arriving, there.settings.buffer_replicas):
        there.issue(lane.queue)
