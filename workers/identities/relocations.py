"""Brings a customer's history from its cell to another customer's, in another cell: exactly once, whatever ends where.

No transaction goes over two cells, so a history leaves in one and arrives in another. The first packs all rows of the
customer into an outbox and takes them out of the tables, in the cell that they leave. The second unpacks them in the
other cell, makes them one with what is there, and notes that they have arrived: done again, it does nothing. Then the
outbox is emptied. After an interruption the next merge or change of the customer, or the clock, brings the rest
on. Events that come under the old address meanwhile are not part of it: they are passed on, or stay with those
who keep the address.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from psycopg import sql as pieces

from workers.buffer.entries import hash_customer
from workers.cells import cell_of
from workers.identities import changes, moving, profiles
from workers.identities.changes import AddressChange
from workers.identities.moving import Merged
from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, holding, lock
from workers.upkeep import erased_totals, level_moves

# Tables whose rows of the customer are deleted in the old cell, and do not travel.
DROPPED = ("recent_events", "customer_search", "earlier_days", "scores_ahead", "risk_restated", "arriving")
STAYS = frozenset(  # tables that a cell keeps for itself, or fills anew
    {
        *("erasures", "erasing", "leaving", "identities", "unresolved_events", "relocations", "relocated_rows"),
        *DROPPED,
    }
)
PART_ROWS = 10_000  # that are packed together
WAITING_SECONDS = 30.0  # after which the clock takes a relocation for an interrupted one


class Relocation(NamedTuple):
    """A history on its way from an address to another one. `subject`: the user id whose address has changed; `kept`:
    other user ids stay at the old address."""

    relocation_id: str
    customer_id: str
    account_id: int
    email: str
    owner: str
    next_email: str
    subject: str | None = None
    kept: bool = False
    followed: bool = False  # all user ids whose the history is have the next address

    @classmethod
    def begin(
        cls, account_id: int, email: str, into: str, subject: str | None = None, kept: bool = False
    ) -> "Relocation":
        """Returns a relocation of the customer at the first address."""
        old, new = hash_customer(account_id, email), hash_customer(account_id, into)
        return cls(str(uuid.uuid4()), old, account_id, email, new, into, subject, kept)


@contextmanager
def alone(cells: Sequence[Connection], *ids: str, patient: bool = False) -> Iterator[bool]:
    """Have these customers and user ids alone during the block, so that the facts for their course stay true.
    Yields False if another process has one of them; a patient caller waits for it. All take them in one order, so
    nobody waits in a circle."""
    with ExitStack() as stack:
        locks = (holding(cells[cell_of(id_, len(cells))], Lock.MOVING, id_, patient=patient) for id_ in sorted({*ids}))
        yield all(map(stack.enter_context, locks))


def depart(source: Connection, relocation: Relocation) -> None:
    """Take the customer out of the cell; from now on the old address leads to the next one, unless it is kept."""
    whom = {"account_id": relocation.account_id, "customer_id": relocation.customer_id}
    with source.transaction():
        lock(source, Lock.STORING)
        source.execute(sql("note_relocation"), relocation._asdict())
        erased_totals.note_erased(source, whom)
        level_moves.take_back_moves(source, relocation.account_id, [relocation.customer_id])
        for table in _list_tables(source):
            source.execute(pack(table), {**relocation._asdict(), "part_rows": PART_ROWS})
            source.execute(moving.delete_of(table), whom)
        for table in DROPPED:
            source.execute(moving.delete_of(table), whom)
        if not relocation.kept:
            moving.give_up_address(source, relocation.account_id, relocation.email, relocation.next_email)
        erased_totals.end_erasing(source, whom)
    erased_totals.leave_out(source)


def rename(source: Connection, relocation: Relocation) -> None:
    """Give the customer's history to an address in the same cell that has none; user ids follow."""
    with source.transaction():
        lock(source, Lock.STORING)
        source.execute(sql("note_relocation"), relocation._asdict())
        account_id, old, new = relocation.account_id, relocation.customer_id, relocation.owner
        moving.rename_rows(source, account_id, old, new, relocation.next_email)
        if not relocation.kept:
            moving.give_up_address(source, account_id, relocation.email, relocation.next_email)


def merge(source: Connection, relocation: Relocation) -> Merged | None:
    """As moving.merge_known; user ids follow."""
    with source.transaction():
        way = relocation.account_id, relocation.email, relocation.next_email
        merged = moving.merge_within(source, *way)
        if merged is not None:
            source.execute(sql("note_relocation"), relocation._asdict())
    erased_totals.leave_out(source)
    return merged


def finish_all(cells: Sequence[Connection], source: Connection) -> None:
    """Bring on what was interrupted a while ago."""
    _finish(cells, source, None)


def finish(cells: Sequence[Connection], customer_id: str) -> list[Merged]:
    """Bring on what left this customer. Returns the customers that it came to, and with how many events."""
    return _finish(cells, cells[cell_of(customer_id, len(cells))], customer_id)


def finish_change(cells: Sequence[Connection], change: AddressChange) -> None:
    """Bring on what an interrupted attempt at this change has left, or another one at its address."""
    for source in cells:
        _finish(cells, source, change.customer_id)
    finish(cells, change.old)


def erase(connection: Connection, customer_id: str) -> None:
    """Erase what is on its way from this customer, or to it, in the cell of this connection; wait for what arrives."""
    connection.execute(sql("erase_relocations"), {"customer_id": customer_id})


def own_identities(cells: Sequence[Connection], customer_id: str, owner: str, email: str, kept: bool = False) -> None:
    """Give the user ids of a customer to the next one, in whatever cell they are; those stay that keep the address."""
    both = {"customer_id": customer_id, "owner": owner, "email": email}
    for connection in cells:
        connection.execute(sql("own_identities_along" if kept else "own_all_identities"), both)


def end_change(cells: Sequence[Connection], change: AddressChange, apart: bool) -> None:
    """Give the user id its new address; its traits go there."""
    _end_change(cells, change.account_id, change.customer_id, change.email, change.next_email, apart)


def _finish(cells: Sequence[Connection], source: Connection, subject: str | None) -> list[Merged]:
    asked = {"subject": subject, "seconds": WAITING_SECONDS}
    pending = source.execute(sql("list_relocations"), asked).fetchall()
    return [merged for (relocation_id,) in pending if (merged := _arrive(cells, source, relocation_id))]


def _arrive(cells: Sequence[Connection], source: Connection, relocation_id: str) -> Merged | None:
    """Bring a history to its customer. Returns None if that was done meanwhile, or erased."""
    merged = _bring(cells, source, relocation_id)
    if merged is None:
        return None
    with source.transaction():
        left = _take(source, relocation_id)
        if left is None:
            return None
        if left.kept:
            for cell in cells:
                cell.execute(sql("end_apart"), {"customer_id": left.customer_id})
        if left.subject:
            _end_change(cells, left.account_id, left.subject, left.email, left.next_email)
        source.execute(sql("delete_relocation"), left._asdict())
    target = cells[cell_of(left.owner, len(cells))]
    target.execute(sql("forget_arrival"), {"relocation_id": relocation_id})
    erased_totals.leave_out(target)
    return merged


def _bring(cells: Sequence[Connection], source: Connection, relocation_id: str) -> Merged | None:
    """Unpack a history, and let those follow whose it is. Those who stay at the address are set free only after that is
    committed: done again, it would take them along."""
    with source.transaction():
        left = _take(source, relocation_id)
        if left is None:
            return None
        moved = _follow(cells, left)
        events = _unpack_once(source, cells[cell_of(moved.owner, len(cells))], moved)
        if not left.followed:
            own_identities(cells, left.customer_id, moved.owner, moved.next_email, left.kept)
            source.execute(sql("note_followed"), moved._asdict())
    return Merged(moved.next_email, events)


def _take(source: Connection, relocation_id: str) -> Relocation | None:
    """Returns a relocation that nobody else works on until the transaction ends; None if there is none any more."""
    row = source.execute(sql("take_relocation"), {"relocation_id": relocation_id}).fetchone()
    return Relocation(*row) if row else None


def _follow(cells: Sequence[Connection], relocation: Relocation) -> Relocation:
    """Returns the relocation to whom its customer has gone since."""
    passed = set()
    while relocation.owner not in passed:
        passed.add(relocation.owner)
        there = cells[cell_of(relocation.owner, len(cells))]
        row = there.execute(sql("find_owners"), {"customer_ids": [relocation.owner]}).fetchone()
        if row is None:
            break
        next_owner = hash_customer(relocation.account_id, row[1])
        relocation = relocation._replace(owner=next_owner, next_email=row[1])
    return relocation


def _unpack_once(source: Connection, target: Connection, relocation: Relocation) -> int:
    """Unpack the history unless that was done before. Returns how many events came."""
    arrival = {"relocation_id": relocation.relocation_id}
    with target.transaction():
        lock(target, Lock.STORING)
        if not target.execute(sql("note_arrival"), arrival).rowcount:
            return int(only_row(target.execute(sql("read_arrival"), arrival))[0])
        packed = source.execute(sql("read_relocated"), relocation._asdict()).fetchall()
        for table, rows in packed:
            columns = [name for (name,) in target.execute(sql("list_plain_columns"), {"table": table})]
            target.execute(unpack(table, columns), {**arrival, "rows": rows})
        events = _unite(target, relocation) if packed else 0
        target.execute(sql("note_arrived_events"), {**arrival, "events": events})
    return events


def _unite(target: Connection, relocation: Relocation) -> int:
    """Make what was unpacked, under the id of the relocation, the customer's own. Returns how many events came."""
    account_id, came, email = relocation.account_id, relocation.relocation_id, relocation.next_email
    if changes.has_history(target, relocation.owner):
        return moving.merge_rows(target, account_id, came, relocation.owner, email)
    moving.note_arriving(target, came, came)
    moving.rename_rows(target, account_id, came, relocation.owner, email)
    level_moves.count_moves(target, account_id, [relocation.owner])
    return moving.count_events(target, relocation.owner)


def _end_change(
    cells: Sequence[Connection], account_id: int, subject: str, email: str, next_email: str, apart: bool = False
) -> None:
    connection, owner = cells[cell_of(subject, len(cells))], hash_customer(account_id, next_email)
    change = {"customer_id": subject, "email": email, "next_email": next_email}
    with connection.transaction():
        lock(connection, Lock.STORING)
        if connection.execute(sql("end_change"), change).fetchone() is None:
            return  # another worker did it, or it was taken back
        connection.execute(sql("own_identity"), {**change, "email": next_email, "owner": owner, "apart": apart})
        profiles.hand_over(connection, account_id, [subject], owner, next_email)


def _list_tables(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute(sql("list_customer_tables")) if name not in STAYS]


def pack(table: str) -> pieces.Composed:
    """Returns the statement that packs the customer's rows of a table."""
    query = pieces.SQL(
        "WITH numbered AS MATERIALIZED ("
        "SELECT to_jsonb(theirs) AS content, row_number() OVER () / %(part_rows)s AS part"
        " FROM {} AS theirs WHERE customer_id = %(customer_id)s::uuid)"
        " INSERT INTO relocated_rows (customer_id, relocation_id, relation, part, rows)"
        " SELECT %(customer_id)s::uuid, %(relocation_id)s::uuid, {}, part, jsonb_agg(content)::text"
        " FROM numbered GROUP BY part"
    )
    return query.format(pieces.Identifier(table), pieces.Literal(table))


def unpack(table: str, columns: Sequence[str]) -> pieces.Composed:
    """Returns the statement that inserts packed rows under the id of the relocation."""
    query = pieces.SQL("INSERT INTO {} ({}) SELECT {} FROM jsonb_populate_recordset(NULL::{}, %(rows)s::jsonb)")
    names = pieces.SQL(", ").join(map(pieces.Identifier, columns))
    values = pieces.SQL(", ").join(
        pieces.SQL("%(relocation_id)s::uuid") if name == "customer_id" else pieces.Identifier(name) for name in columns
    )
    return query.format(pieces.Identifier(table), names, values, pieces.Identifier(table))
