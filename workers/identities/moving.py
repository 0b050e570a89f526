"""Moving a customer to another address, with everything that is stored: history, risks, profile.

The transaction holds the lock of erasures alone: nobody stores events meanwhile, so none is left behind, and none comes
under the old address afterwards, because the address that was given up leads to the new one. A customer's tables are
whatever tables have a customer_id.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import sql as pieces
from psycopg.errors import UniqueViolation

from scoring.events import detail_of, value_of
from workers.buffer.entries import hash_customer, hash_user
from workers.identities import changes, profiles
from workers.identities.changes import AddressChange, Course
from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, lock
from workers.upkeep import erased_totals, level_moves

APART = frozenset(  # not simply renamed
    {"identities", "erasures", "profiles", "erasing", "leaving", "relocations", "relocated_rows"}
)


class Merged(NamedTuple):
    """The result of a merge: the remaining customer, and the number of events that came to it."""

    email: str
    events: int


def apply_changes(connection: Connection) -> list[AddressChange]:
    """Carry out the changes of addresses that were announced. Returns those that met another customer: their user ids
    have the new address, and the history before stays where it is."""
    return make_changes(connection, changes.list_changes(connection))


def make_changes(connection: Connection, listed: Sequence[AddressChange]) -> list[AddressChange]:
    """Carry out these changes. Returns those that met another customer."""
    conflicts = []
    for change in changes.in_order([*listed], lambda change: not changes.has_history(connection, change.new)):
        with connection.transaction():
            lock(connection, Lock.STORING)
            course = _bring_late_history(connection, change) if change.is_late else _carry_out(connection, change)
            if course.is_conflict:
                conflicts.append(change)
    erased_totals.leave_out(connection)
    return conflicts


def merge_known(connection: Connection, account_id: int, email: str, into: str) -> Merged | None:
    """Merge a customer into another one: their histories become one, stored once. Both addresses are normalised.
    Returns None if there is no such customer; a merge that was done before is done again, and moves nothing."""
    merged = merge_within(connection, account_id, email, into)
    erased_totals.leave_out(connection)
    return merged


def merge_within(connection: Connection, account_id: int, email: str, into: str) -> Merged | None:
    """As `merge_known`; the totals follow with the next tally."""
    source = hash_customer(account_id, email)
    with connection.transaction():
        lock(connection, Lock.STORING)
        if not changes.has_history(connection, source):
            row = connection.execute(sql("find_owners"), {"customer_ids": [source]}).fetchone()
            return Merged(into, 0) if row and row[1] == into else None
        drop_given_up(connection, account_id, into)
        events = _unite(connection, account_id, source, hash_customer(account_id, into), into)
        give_up(connection, account_id, email, into)
    return Merged(into, events)


def _unite(connection: Connection, account_id: int, source: str, target: str, email: str) -> int:
    """Make the histories of two customers one. Returns how many events came to the second."""
    if not changes.has_history(connection, target):
        rename_rows(connection, account_id, source, target, email)
        return count_events(connection, target)
    leaving = {"account_id": account_id, "customer_id": source}
    erased_totals.note_erased(connection, leaving)
    level_moves.take_back_moves(connection, account_id, [source])
    events = merge_rows(connection, account_id, source, target, email)
    erased_totals.end_erasing(connection, leaving)
    return events


def _carry_out(connection: Connection, change: AddressChange) -> Course:
    """Move the customer, or the user id alone, unless that was done since the change was listed."""
    change = changes.find_apart(connection, change)
    if connection.execute(sql("end_change"), change._asdict()).fetchone() is None:
        return Course(moves=False)  # another worker did it, or it was taken back
    drop_given_up(connection, change.account_id, change.next_email)
    has_old, is_shared = changes.has_history(connection, change.old), changes.is_shared([connection], change)
    has_new = changes.has_history_before(connection, change.new, None if is_shared else change.since_us)
    course = changes.choose_course(change, has_old, has_new, is_shared, was_moved=False)
    if course.moves:
        _move(connection, change, has_old)
    else:
        own(connection, change, course.apart)
        profiles.hand_over(connection, change.account_id, [hash_user(change.account_id, change.user_id)], change.new)
    return course


def _move(connection: Connection, change: AddressChange, has_old: bool) -> None:
    """Move a customer to another address, and from now on what comes under the one before."""
    if has_old:
        connection.execute(sql("stay_apart"), {"owner": change.new, "customer_id": change.customer_id})
        _unite(connection, change.account_id, change.old, change.new, change.next_email)
    else:
        rename_rows(connection, change.account_id, change.old, change.new, change.next_email)
    give_up(connection, change.account_id, change.email, change.next_email, changes.is_kept([connection], change.old))


def _bring_late_history(connection: Connection, change: AddressChange) -> Course:
    """Give the history of a late address to the present one, unless that was done since it was listed."""
    row = connection.execute(sql("is_late_address"), change._asdict()).fetchone()
    if row is None:
        return Course(moves=False)
    course = changes.choose_late_course([connection], connection, change, apart=row[0])
    if course.moves:
        _move(connection, change, changes.has_history(connection, change.old))
    connection.execute(sql("end_late_address"), change._asdict())
    return course


def own(connection: Connection, change: AddressChange, apart: bool) -> None:
    """Give the user id its new address."""
    parameters = {"customer_id": change.customer_id, "email": change.next_email, "owner": change.new, "apart": apart}
    connection.execute(sql("own_identity"), parameters)


def rename_rows(connection: Connection, account_id: int, old: str, new: str, email: str) -> None:
    """Give all rows of an id to that of an address which has none."""
    for table in _tables(connection):
        _rename(connection, table, old, new)
    connection.execute(sql("readdress_customer"), {"customer_id": new, "email": email})
    profiles.hand_over(connection, account_id, [old], new)


def drop_given_up(connection: Connection, account_id: int, email: str) -> None:
    """An address that is in use again leads nowhere else."""
    connection.execute(sql("drop_given_up"), {"customer_id": hash_customer(account_id, email)})


def give_up(connection: Connection, account_id: int, email: str, into: str, kept: bool = False) -> None:
    """From now on everything of one address is another one's; unless it is kept by other user ids."""
    both = {"customer_id": hash_customer(account_id, email), "owner": hash_customer(account_id, into), "email": into}
    if kept:
        connection.execute(sql("own_identities_along"), both)
        connection.execute(sql("end_apart"), both)
    else:
        connection.execute(sql("own_all_identities"), both)
        give_up_address(connection, account_id, email, into)


def give_up_address(connection: Connection, account_id: int, email: str, into: str) -> None:
    """From now on an address leads to another one."""
    both = {"customer_id": hash_customer(account_id, email), "owner": hash_customer(account_id, into), "email": into}
    connection.execute(sql("give_up_address"), {**both, "account_id": account_id})


def merge_rows(connection: Connection, account_id: int, source: str, target: str, email: str) -> int:
    """Give all rows of an id to that of an address, and make them one with those there. Returns how many events came.
    The caller sees to the totals of the first."""
    both = {"source": source, "target": target, "email": email, "account_id": account_id}
    connection.execute(sql("lock_merged"), both)
    _drop_repeated(connection, both)
    note_arriving(connection, source, target)
    (events,) = only_row(connection.execute(sql("merge_events"), both))
    for query in ("merge_event_ids", "merge_days", "merge_pruned", "merge_customer", "merge_rebuild"):
        connection.execute(sql(query), both)
    for table in ("events", "event_ids", "customer_days", "pruned", "customers", "rebuilds", "risk_history",
                  "risk_rebuilt", "arriving"):  # fmt: skip
        connection.execute(delete_of(table), {"customer_id": source})
    for table in _tables(connection):
        _rename(connection, table, source, target)
    profiles.hand_over(connection, account_id, [source], target)
    return int(events)


def note_arriving(connection: Connection, source: str, target: str) -> None:
    """Have the totals count the first customer's pruned events under the second customer."""
    connection.execute(sql("note_arriving"), {"source": source, "target": target})


def count_events(connection: Connection, customer_id: str) -> int:
    """Returns the number of a customer's events that are not pruned."""
    return int(only_row(connection.execute(sql("count_moved_events"), {"customer_id": customer_id}))[0])


def _drop_repeated(connection: Connection, both: dict[str, Any]) -> None:
    """Take out of the first customer's events and days what both did in the very same events, which are stored once."""
    repeated: dict[tuple[object, str, str], list[float]] = {}
    for event, properties, day in connection.execute(sql("drop_repeated"), both):
        counted = repeated.setdefault((day, event, detail_of(event, properties or {})), [0, 0.0])
        counted[0] += 1
        counted[1] += value_of(event, properties or {})
    rows = [
        {**both, "day": day, "event": event, "detail": detail, "n": int(n), "value": value}
        for (day, event, detail), (n, value) in sorted(repeated.items(), key=repr)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql("drop_repeated_days"), rows)
    connection.execute(sql("drop_empty_days"), both)


def _tables(connection: Connection) -> Sequence[str]:
    """Returns the tables of customers that are simply renamed."""
    names = [name for (name,) in connection.execute(sql("list_customer_tables"))]
    return [name for name in names if name not in APART]


def _rename(connection: Connection, table: str, source: str, target: str) -> None:
    """Give rows to another customer; those for which it has the same already go."""
    parameters = {"customer_id": source, "target": target}
    query = pieces.SQL("UPDATE {} SET customer_id = %(target)s WHERE customer_id = %(customer_id)s")
    try:
        with connection.transaction():
            connection.execute(query.format(pieces.Identifier(table)), parameters)
    except UniqueViolation:
        connection.execute(delete_of(table), parameters)


def delete_of(table: str) -> pieces.Composed:
    """Returns the statement that deletes a customer's rows."""
    return pieces.SQL("DELETE FROM {} WHERE customer_id = %(customer_id)s").format(pieces.Identifier(table))
