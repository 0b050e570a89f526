"""Erasing a customer: everything that is stored goes, and so does what was received before and is stored later.

What stays is a receipt, keyed by the customer's id, which is a hash. Events that wait in the buffer can't be found
there, so ingest asks for receipts: a row that was received no later than its customer's erasure is dropped. The lock
that both take (Lock.STORING) lets no transaction slip through between the two. The many events of a long history are
deleted before it is taken, so that nobody has to wait for that.

Totals follow: what is to be taken out of them is noted with the deletion, and whoever tallies next does it.
"""

from datetime import datetime
from typing import Any, NamedTuple

from workers.buffer.entries import hash_customer, normalise_email
from workers.buffer.staging import StagedRows, stage
from workers.store import Connection, one, sql
from workers.store.locks import Lock, lock, share
from workers.upkeep import erased_totals, level_moves

CHUNK = 10_000


class Receipt(NamedTuple):
    """What an erasure did: how many rows of each kind are gone."""

    erasure_id: str
    erased_at: datetime
    events: int
    event_ids: int
    days: int
    risks: int
    dead_letters: int


def erase(connection: Connection, account_id: int, email: str) -> Receipt:
    """Erase a customer, known or not; safe to do again. Raises psycopg.Error, and then it has to be done again."""
    erased = _follow_address(connection, account_id, normalise_email(email))
    customer = {"account_id": account_id, "customer_id": erased}
    swept = _sweep_long(connection, customer)
    with connection.transaction():
        lock(connection, Lock.STORING)
        swept["events"] += _erase_identities(connection, customer)
        erased_totals.note_erased(connection, customer)
        connection.execute(sql("erase_customer"), customer)
        connection.execute(sql("erase_rebuild"), customer)
        level_moves.take_back_moves(connection, account_id, [erased])
        receipt = Receipt(*one(connection.execute(sql("erase_the_rest"), {**customer, **swept})))
        erased_totals.end_erasing(connection, customer)
    erased_totals.leave_out(connection)
    return receipt


def _follow_address(connection: Connection, account_id: int, email: str) -> str:
    """Returns the id of the customer who has this address, or gave it up for another."""
    given_up = hash_customer(account_id, email)
    row = connection.execute(sql("find_owners"), {"customer_ids": [given_up]}).fetchone()
    return hash_customer(account_id, row[1]) if row else given_up


def _erase_identities(connection: Connection, customer: dict[str, Any]) -> int:
    """Erase the customer's user ids, given-up addresses, traits, and events that wait. Returns how many waited."""
    (waited,) = one(connection.execute(sql("erase_identities"), customer))
    return int(waited)


def _sweep_long(connection: Connection, customer: dict[str, Any]) -> dict[str, int]:
    """Delete what there is too much of for a moment. Returns how many rows that were, by table."""
    tables = ("events", "event_ids")
    (is_long,) = one(connection.execute(sql("long_history"), {**customer, "limit": CHUNK}))
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
    share(connection, Lock.STORING)


def find_erased(connection: Connection, oldest_us: int) -> dict[str, int]:
    """Returns who was erased at this time (microseconds since 1970) or later, and when at last."""
    return dict(connection.execute(sql("recent_erasures"), {"oldest_us": oldest_us}).fetchall())


def not_erased(connection: Connection, some: StagedRows) -> StagedRows:
    """What may be stored: what was received after the erasure of its customer, if there was one."""
    erased = find_erased(connection, some.received_us)
    if not erased:
        return some
    return stage([row for row in some.rows if row.received_us > erased.get(row.customer_id, 0)])
