"""Finds whose the events of a batch are: user ids become addresses, a given-up address becomes the one after it.

It happens behind the buffer, in the transaction that stores the batch, with one query. A batch that has addresses only,
in a database where none was ever given up, asks for nothing more than that.
"""

from collections.abc import Sequence
from typing import NamedTuple

from workers.buffer.lanes import Lane
from workers.buffer.rows import Row, find_customer
from workers.buffer.staging import StagedRows, stage
from workers.buffer.stream import received_us_of
from workers.identities import forwarding
from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, share
from workers.upkeep import erasure


class Resolved(NamedTuple):
    """A batch's events under the addresses they belong to, those of user ids whose address isn't known yet, and those
    whose customer lives in another cell."""

    staged: StagedRows
    unresolved: Sequence[Row]
    elsewhere: Sequence[Row] = ()


def resolve(connection: Connection, staged: StagedRows, lane: Lane | None = None) -> Resolved:
    """Returns the rows under their addresses, without those of user ids that were erased meanwhile. The caller's
    transaction holds the shared erasure lock."""
    here, strays = forwarding.divide(connection, staged.rows)
    if strays:  # they were written when there were fewer cells
        staged = stage(here)
    (given_up,) = only_row(connection.execute(sql("any_given_up")))
    if not (given_up or staged.unresolved):
        return Resolved(staged, (), strays)
    asked = {row.customer_id for row in staged.rows if given_up or row.customer.user_id is not None}
    owners = _find_owners(connection, asked)
    unknown = {row.customer_id for row in staged.rows if row.customer.user_id is not None} - owners.keys()
    if unknown:  # under the lock it is certain that they are
        share(connection, Lock.IDENTITIES)
        owners |= _find_owners(connection, unknown)
    resolved = [_resolve_row(row, owners) for row in staged.rows if row.customer_id not in unknown - owners.keys()]
    if given_up and owners:  # a user id may follow a little later than the history of its address
        successors = _find_owners(connection, {row.customer_id for row in resolved})
        resolved = [_resolve_row(row, successors) for row in resolved]
    waiting = [row for row in staged.rows if row.customer_id in unknown and row.customer_id not in owners]
    if waiting:
        waiting = list(erasure.not_erased(connection, lane, stage(waiting)).rows)
    here, elsewhere = forwarding.divide(connection, resolved)
    return Resolved(stage(here), waiting, [*strays, *elsewhere])


def put_aside(connection: Connection, rows: Sequence[Row], lane: str | None) -> int:
    """Keep events of unknown user ids until their address is known. They count as received when they came to the
    buffer, by its one clock: an erasure of their customer goes by that. Returns how many were not there yet."""
    if not rows:
        return 0
    columns = {
        "customer_id": [row.customer_id for row in rows],
        "occurred_us": [row.occurred_us for row in rows],
        "event_key": [row.event_key for row in rows],
        "account_id": [row.customer.account_id for row in rows],
        "user_id": [row.customer.user_id for row in rows],
        "event": [row.content.event for row in rows],
        "properties": [row.content.properties for row in rows],
        "received_us": [received_us_of(row.position) if row.position else row.received_us for row in rows],
        "identified": [row.identified for row in rows],
    }
    (put,) = only_row(connection.execute(sql("put_aside"), {**columns, "lane": lane}))
    return int(put)


def _find_owners(connection: Connection, customer_ids: set[str]) -> dict[str, str]:
    """Returns the address of each of these that has one."""
    return dict(connection.execute(sql("find_owners"), {"customer_ids": list(customer_ids)}).fetchall())


def _resolve_row(row: Row, owners: dict[str, str]) -> Row:
    email = owners.get(row.customer_id)
    if email is None:
        return row
    customer = find_customer(row.customer.account_id, email)
    return row._replace(customer_id=customer.customer_id, customer=customer)
