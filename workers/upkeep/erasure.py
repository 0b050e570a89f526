"""Erasing a customer: everything that is stored goes, and so does what was received before and is stored later.

What stays is a receipt, keyed by the customer's id, which is a hash. Events that wait in the buffer can't be found
there, so ingest asks for receipts: a row that was received no later than its customer's erasure is dropped. The lock
that both take (see erasure.sql) lets no transaction slip through between the two. The many events of a long history are
deleted before it is taken, so that nobody has to wait for that.

Totals follow: what is to be taken out of them is noted with the deletion, and whoever tallies next does it.
"""

from datetime import datetime
from typing import Any, NamedTuple

from workers.buffer.entries import hash_customer, normalise_email
from workers.buffer.staging import StagedRows, stage
from workers.store import Connection, sql
from workers.upkeep import totals

CHUNK = 10_000


class NoSuchAccount(Exception):
    """No account has this name, or there are several and none was named. The message says which there are."""


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
    erased = hash_customer(account_id, normalise_email(email))
    whom = {"account_id": account_id, "customer_id": erased}
    swept = _sweep_long(connection, whom)
    with connection.transaction():
        connection.execute(sql("halt_storing"))
        totals.note_leaving(connection, whom)
        connection.execute(sql("erase_customer"), whom)
        connection.execute(sql("erase_rebuild"), whom)
        totals.move_risks(connection, account_id, [erased], -1)
        row = connection.execute(sql("erase_the_rest"), {**whom, **swept}).fetchone()
        connection.execute(sql("end_erasing"), whom)
    totals.leave_out(connection)
    assert row
    return Receipt(*row)


def _sweep_long(connection: Connection, whom: dict[str, Any]) -> dict[str, int]:
    """Delete what there is too much of for a moment. Returns how many rows that were, by table."""
    tables = ("events", "event_ids")
    if connection.execute(sql("long_history"), {**whom, "limit": CHUNK}).fetchone() != (True,):
        return dict.fromkeys(tables, 0)
    with connection.transaction():
        connection.execute(sql("halt_storing"))
        totals.note_leaving(connection, whom)
    return {table: _sweep(connection, f"erase_some_{table}", whom) for table in tables}


def _sweep(connection: Connection, query: str, whom: dict[str, Any]) -> int:
    """Delete in small steps, until a step finds less than it could delete. Returns how many rows that were."""
    swept = 0
    while step := connection.execute(sql(query), {**whom, "limit": CHUNK}).rowcount:
        swept += step
        if step < CHUNK:
            break
    return swept


def join_storing(connection: Connection) -> None:
    """Within a transaction that stores: no erasure happens until it ends."""
    connection.execute(sql("join_storing"))


def not_erased(connection: Connection, some: StagedRows) -> StagedRows:
    """What may be stored: what was received after the erasure of its customer, if there was one."""
    found = connection.execute(sql("recent_erasures"), {"oldest_us": some.received_us}).fetchall()
    erased: dict[str, int] = dict(found)
    if not erased:
        return some
    return stage([row for row in some.rows if row.received_us > erased.get(row.customer_id, 0)])


def account_named(connection: Connection, name: str | None) -> int:
    """The id of the account of this name, or of the only one. Raises NoSuchAccount."""
    accounts = {found: account_id for account_id, found in connection.execute(sql("accounts_by_name"))}
    if name is None and len(accounts) == 1:
        return int(next(iter(accounts.values())))
    if name not in accounts:
        raise NoSuchAccount(f"name an account with --account; there are: {', '.join(accounts) or 'none'}")
    return int(accounts[name])
