"""Erasing a customer: everything that is stored goes, and so does what was received before and is stored later.

A receipt stays, keyed by the customer's id, which is a hash. Events that wait in the buffer can't be found
there, so ingest asks for receipts: a row that stood in the buffer before its customer's erasure is dropped. The lock
that both take (Lock.STORING) lets no transaction slip through between the two. The many events of a long history are
deleted before it is taken, so that nobody has to wait for that.

Totals follow: the deletion notes the counts to take out of them, and the next tally does it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from workers.buffer.entries import hash_customer, hash_user, normalise_email
from workers.buffer.lanes import LANES, Lane
from workers.buffer.staging import StagedRows, stage
from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, lock, share_storing
from workers.upkeep import erased_totals, level_moves

CHUNK = 10_000
NOWHERE = 2**63 - 1  # after all places


class Receipt(NamedTuple):
    """The result of an erasure: the number of erased rows of each kind."""

    erasure_id: str
    erased_at: datetime
    events: int
    event_ids: int
    days: int
    risks: int
    dead_letters: int


class Unsettled(psycopg.OperationalError):
    """A change of the customer's address waits, or was made in this moment: which histories are the customer's is
    decided by it. Erase the customer again after that."""


def erase(connection: Connection, account_id: int, email: str, positions: Mapping[str, int] | None = None) -> Receipt:
    """Erase a customer, known or not; safe to do again. `positions` are the ends of the buffer's lanes as of now
    (stream.last_positions): entries up to them are covered, whatever any clock says. Without them, those that
    were received before. Raises psycopg.Error, and then it has to be done again; Unsettled."""
    address = normalise_email(email)
    erased = _follow_address(connection, account_id, address)
    return erase_id(connection, account_id, erased, positions, address)


def erase_user(
    connection: Connection, account_id: int, user_id: str, positions: Mapping[str, int] | None = None
) -> Receipt:
    """Erase the customer whom a user id stands for; where its address was never said, the events that wait for it. Else
    as `erase`."""
    unnamed = hash_user(account_id, user_id)
    row = connection.execute(sql("find_owners"), {"customer_ids": [unnamed]}).fetchone()
    if row is None:
        return erase_id(connection, account_id, unnamed, positions)
    return erase_id(connection, account_id, hash_customer(account_id, row[1]), positions, row[1])


def erase_names(
    connection: Connection,
    account_id: int,
    erased: str,
    positions: Mapping[str, int] | None = None,
    email: str | None = None,
) -> None:
    """Erase the user ids and given-up addresses of a customer of another cell, and the events that wait for them; those
    included that wait in the buffer until their customer is known. `email` as of erase_id. Raises Unsettled."""
    customer = _describe(account_id, erased, positions, email)
    with connection.transaction():
        lock(connection, Lock.STORING)
        _erase_identities(connection, customer)
        connection.execute(sql("note_erasure"), customer)


def _describe(account_id: int, erased: str, positions: Mapping[str, int] | None, email: str | None) -> dict[str, Any]:
    ends = {f"{name}_position": (positions or {}).get(name) for name in LANES}
    return {"account_id": account_id, "customer_id": erased, "email": email, **ends}


def erase_id(
    connection: Connection,
    account_id: int,
    erased: str,
    positions: Mapping[str, int] | None = None,
    email: str | None = None,
) -> Receipt:
    """As `erase`, by the id of the customer who has the address now; `email` is this address, None if only a user id is
    known."""
    receipt = erase_within(connection, account_id, erased, positions, email)
    erased_totals.leave_out(connection)
    return receipt


def erase_within(
    connection: Connection,
    account_id: int,
    erased: str,
    positions: Mapping[str, int] | None = None,
    email: str | None = None,
) -> Receipt:
    """As `erase_id`; the totals follow with the next tally."""
    customer = _describe(account_id, erased, positions, email)
    swept = _sweep_long(connection, customer)
    with connection.transaction():
        lock(connection, Lock.STORING)
        swept["events"] += _erase_identities(connection, customer)
        erased_totals.note_erased(connection, customer)
        connection.execute(sql("lock_customer"), customer)
        connection.execute(sql("erase_rebuild"), customer)
        level_moves.take_back_moves(connection, account_id, [erased])
        connection.execute(sql("erase_customer"), customer)
        receipt = Receipt(*only_row(connection.execute(sql("erase_the_rest"), {**customer, **swept})))
        erased_totals.end_erasing(connection, customer)
    return receipt


def _follow_address(connection: Connection, account_id: int, email: str) -> str:
    """Returns the id of the customer who has this address, or gave it up for another."""
    given_up = hash_customer(account_id, email)
    row = connection.execute(sql("find_owners"), {"customer_ids": [given_up]}).fetchone()
    return hash_customer(account_id, row[1]) if row else given_up


def _erase_identities(connection: Connection, customer: dict[str, Any]) -> int:
    """Erase the customer's user ids, given-up addresses, traits, and events that wait. Returns how many waited. The
    caller's transaction holds the lock of erasures alone."""
    if only_row(connection.execute(sql("is_unsettled"), customer))[0]:
        raise Unsettled("a change of this customer's address waits; erase it again")
    (waited,) = only_row(connection.execute(sql("erase_identities"), customer))
    return int(waited)


def _sweep_long(connection: Connection, customer: dict[str, Any]) -> dict[str, int]:
    """Delete what there is too much of for a moment. Returns how many rows that were, by table."""
    tables = ("events", "event_ids")
    (is_long,) = only_row(connection.execute(sql("long_history"), {**customer, "limit": CHUNK}))
    if not is_long:
        return dict.fromkeys(tables, 0)
    with connection.transaction():
        lock(connection, Lock.STORING)
        erased_totals.note_erased(connection, customer)
    return {table: _sweep(connection, f"erase_some_{table}", customer) for table in tables}


def _sweep(connection: Connection, query: str, customer: dict[str, Any]) -> int:
    """Delete in small steps, until a step finds less than it could delete. Returns how many rows that were."""
    swept = 0
    while step := connection.execute(sql(query), {**customer, "limit": CHUNK}).rowcount:
        swept += step
        if step < CHUNK:
            break
    return swept


def join_storing(connection: Connection) -> None:
    """Within a transaction that stores: no erasure happens until it ends."""
    share_storing(connection)


class RecentErasures(NamedTuple):
    """Customers who were erased lately: at which place of the lane, at which time (microseconds since 1970) where no
    place was noted, and at which time in any case."""

    positions: dict[str, int]
    times: dict[str, int]
    all_times: dict[str, int]

    def covers(self, customer_id: str, position: int, received_us: int) -> bool:
        """Returns whether what was written to this place (0: it has none in this lane), and received at this time, came
        before an erasure of the customer."""
        times = self.times if position else self.all_times
        return 0 < position <= self.positions.get(customer_id, 0) or received_us <= times.get(customer_id, -1)


def find_erased(connection: Connection, lane: Lane | None, places: Sequence[int], oldest_us: int) -> RecentErasures:
    """Returns the erasures that may cover what was written to one of these places of the lane (0: to none) or later, or
    received at this time or later."""
    first = min(places, default=0)
    unplaced = not first
    if unplaced:
        first = min(filter(None, places), default=NOWHERE)
    parameters = {"lane": lane and lane.name, "first": first, "unplaced": unplaced, "oldest_us": oldest_us}
    rows = connection.execute(sql("recent_erasures"), parameters).fetchall()
    positions = {customer_id: position for customer_id, position, _, _ in rows if position is not None}
    times = {customer_id: erased_us for customer_id, _, erased_us, _ in rows if erased_us is not None}
    return RecentErasures(positions, times, {customer_id: erased_us for customer_id, _, _, erased_us in rows})


def not_erased(connection: Connection, lane: Lane | None, staged: StagedRows) -> StagedRows:
    """Returns the rows that may be stored: no erasure of their customer covers them."""
    places = [staged.position] if staged.position else [row.position for row in staged.rows]
    erased = find_erased(connection, lane, places, staged.received_us)
    if erased == NONE_ERASED:
        return staged
    return stage([row for row in staged.rows if not erased.covers(row.customer_id, row.position, row.received_us)])


NONE_ERASED = RecentErasures({}, {}, {})
