"""Customers whose address, user ids and history are in several cells: erased, moved to another address, merged.

History that goes to another cell is copied there under its old id and made one with what is there in the same
transaction; then it is deleted where it was. Both cells are locked meanwhile, the lower number first. A process or a
server that ends between the two leaves the old address in the target's cell, as one that was given up. By that the next
attempt knows its own copy from another customer's history: it merges the two, and nothing is stored twice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from psycopg import sql as pieces

from workers import placement
from workers.buffer.entries import hash_customer, hash_user, normalise_email
from workers.buffer.lanes import lanes_of
from workers.buffer.stream import last_positions
from workers.cells import Cell, cell_of
from workers.identities import moving, profiles
from workers.identities.moving import AddressChange, Merged
from workers.process import Process
from workers.redis import REDIS_AWAY, command_client
from workers.settings import Settings
from workers.store import Connection, find_cell, presence, sql
from workers.store.locks import Lock, lock
from workers.upkeep import erased_totals, erasure, level_moves
from workers.upkeep.erasure import Receipt

T = TypeVar("T")

STAYS = frozenset(  # what a cell keeps for itself, or makes anew
    {
        *("erasures", "erasing", "leaving", "identities", "unresolved_events"),
        *("recent_events", "customer_search", "scores_ahead", "risk_restated"),
    }
)


class Journey(NamedTuple):
    """A customer's way from one address to another, with connections to the cells of both."""

    account_id: int
    email: str
    into: str
    source: Connection
    target: Connection

    @property
    def old(self) -> str:
        """The id of the address before."""
        return hash_customer(self.account_id, self.email)

    @property
    def new(self) -> str:
        """The id of the address from now on."""
        return hash_customer(self.account_id, self.into)

    @property
    def stays(self) -> bool:
        """True if both are in one cell."""
        return self.source is self.target


def find_home_of(settings: Settings, customer_id: str) -> Cell:
    """Returns the cell of a customer."""
    return settings.all_cells[cell_of(customer_id, settings.cells)]


def erase(settings: Settings, account_id: int, email: str, by_user_id: bool = False) -> Receipt:
    """Erase a customer, known or not, in all cells: history is in one of them, user ids may be in others. `email` may
    be a user id. Raises psycopg.Error, and then it has to be done again."""
    asked = hash_user(account_id, email) if by_user_id else hash_customer(account_id, normalise_email(email))
    with presence.enter(find_home_of(settings, asked)) as connection:
        row = connection.execute(sql("find_owners"), {"customer_ids": [asked]}).fetchone()
    customer_id = hash_customer(account_id, row[1]) if row else asked
    home = find_home_of(settings, customer_id)
    for cell in settings.all_cells:
        if cell != home:
            with presence.enter(cell) as connection:
                erasure.erase_names(connection, account_id, customer_id, read_positions(cell))
    with presence.enter(home) as connection:
        return erasure.erase_id(connection, account_id, customer_id, read_positions(home))


def read_positions(cell: Cell) -> dict[str, int] | None:
    """Returns the ends of the lanes of a cell's buffer; None while Redis is away: then clocks have to do."""
    try:
        with command_client(cell.buffer_url) as redis:
            return last_positions(redis, lanes_of(cell))
    except REDIS_AWAY:
        return None


def merge(settings: Settings, account_id: int, email: str, into: str) -> Merged | None:
    """Merge a customer into another one, as moving.merge_known does within a cell."""
    with _on_the_way(settings, account_id, email, into) as journey:
        if journey.stays:
            merged = moving.merge_known(journey.source, account_id, email, into)
        elif moving.has_history(journey.source, journey.old):
            merged = _merge_into(journey)
        else:
            row = journey.source.execute(sql("find_owners"), {"customer_ids": [journey.old]}).fetchone()
            merged = Merged(into, 0) if row and row[1] == into else None
        if merged is not None:
            with placement.connect_cells(settings) as cells:
                _own_identities(cells, journey)
    return merged


def apply_changes(process: Process) -> list[AddressChange]:
    """Carry out the changes of addresses that were announced in this cell, as moving.apply_changes does within one."""
    connection, conflicts = process.connection(), []
    changes = moving.list_changes(connection)
    if not changes:
        return []
    with placement.connect_cells(process.settings) as cells:

        def place_of(customer_id: str) -> Connection:
            return cells[cell_of(customer_id, len(cells))]

        for change in moving.in_order(changes, lambda change: not moving.has_history(place_of(change.new), change.new)):
            way = change.account_id, change.email, change.next_email
            journey = Journey(*way, place_of(change.old), place_of(change.new))
            course = _carry_out(journey, moving.find_apart(connection, change), cells, connection)
            if course.is_conflict:
                conflicts.append(change)
    return conflicts


def _carry_out(
    journey: Journey, change: AddressChange, cells: Sequence[Connection], connection: Connection
) -> moving.Course:
    """Move the customer, or the user id alone, which is announced in the cell of this connection. May be done again."""
    has_old = moving.has_history(journey.source, change.old)
    has_new = moving.has_history(journey.target, change.new)
    row = journey.source.execute(sql("find_owners"), {"customer_ids": [change.old]}).fetchone()
    was_moved = row is not None and row[1] == change.next_email
    is_halfway = has_old and has_new and _is_copied(journey)
    course = moving.choose_course(change, has_old, has_new, moving.is_shared(cells, change), was_moved or is_halfway)
    if course.moves:
        if has_old:
            for cell in cells:
                cell.execute(sql("stay_apart"), {"owner": change.new, "customer_id": change.customer_id})
        kept = moving.is_kept(cells, change.old)
        if is_halfway:
            _merge_into(journey, kept)
        else:
            _move(journey, kept)
        _own_identities(cells, journey, kept)
    else:
        moving.drop_given_up(journey.target, change.account_id, change.next_email)
    _end_change(connection, change, course)
    return course


@contextmanager
def _on_the_way(settings: Settings, account_id: int, email: str, into: str) -> Iterator[Journey]:
    source, target = (find_home_of(settings, hash_customer(account_id, address)) for address in (email, into))
    with presence.enter(source) as leaving:
        if source == target:
            yield Journey(account_id, email, into, leaving, leaving)
        else:
            with presence.enter(target) as arriving:
                yield Journey(account_id, email, into, leaving, arriving)


def _end_change(connection: Connection, change: AddressChange, course: moving.Course) -> None:
    """The user id has its new address, and its traits go there."""
    user = hash_user(change.account_id, change.user_id)
    with connection.transaction():
        lock(connection, Lock.STORING)
        if connection.execute(sql("end_change"), change._asdict()).fetchone() is None:
            return  # another worker did it, or it was taken back
        moving.own(connection, change, course.apart)
        profiles.hand_over(connection, change.account_id, [user], change.new, change.next_email)


def _own_identities(cells: Sequence[Connection], journey: Journey, kept: bool = False) -> None:
    """User ids of the old address belong to the new one, in whatever cell they are; those that keep it stay."""
    both = {"customer_id": journey.old, "owner": journey.new, "email": journey.into}
    for connection in cells:
        connection.execute(sql("own_identities_along" if kept else "own_all_identities"), both)
        if kept:
            connection.execute(sql("end_apart"), both)


def _move(journey: Journey, kept: bool) -> None:
    """Move a customer to an address without a history."""

    def rename() -> None:
        moving.drop_given_up(journey.target, journey.account_id, journey.into)
        moving.rename_customer(journey.target, journey.account_id, journey.email, journey.into)
        if journey.stays:
            moving.give_up(journey.source, journey.account_id, journey.email, journey.into, kept)
        else:
            _note_copy(journey)

    _carry(journey, rename, kept)


def _merge_into(journey: Journey, kept: bool = False) -> Merged:
    merged = _carry(
        journey, lambda: moving.merge_within(journey.target, journey.account_id, journey.email, journey.into), kept
    )
    assert merged is not None
    return merged


def _note_copy(journey: Journey) -> None:
    """Note in the target's cell that the history there is a copy of the old address's."""
    way = {"account_id": journey.account_id, "customer_id": journey.old, "owner": journey.new, "email": journey.into}
    journey.target.execute(sql("give_up_address"), way)


def _is_copied(journey: Journey) -> bool:
    """Returns True if an attempt ended between the copy and the deletion."""
    row = journey.target.execute(sql("find_owners"), {"customer_ids": [journey.old]}).fetchone()
    return not journey.stays and row is not None and row[1] == journey.into


def _carry(journey: Journey, make_one: Callable[[], T], kept: bool = False) -> T:
    """Bring a customer's rows to the target, make them one with those there, and delete them in the source. Nobody
    stores or erases in either cell meanwhile."""
    with journey.source.transaction():
        with journey.target.transaction():
            for connection in _in_order(journey):
                lock(connection, Lock.STORING)
            if not journey.stays:
                _copy(journey)
            result = make_one()
        if not journey.stays:
            _leave(journey, kept)
    if not journey.stays:
        moving.drop_given_up(journey.target, journey.account_id, journey.email)
    for connection in _in_order(journey):
        erased_totals.leave_out(connection)
    return result


def _in_order(journey: Journey) -> list[Connection]:
    """The connections of the cells, so that two journeys don't wait for each other."""
    places = {find_cell(connection): connection for connection in (journey.source, journey.target)}
    return [places[cell] for cell in sorted(places, key=lambda cell: cell.number or 0 if cell else 0)]


def _copy(journey: Journey) -> None:
    """Copy the customer's rows, under the old id. Events count as stored now, so that the totals there take them in."""
    whom = {"customer_id": journey.old}
    for table in _list_tables(journey.source):
        rows = journey.source.execute(_select(table), whom).fetchone()
        columns = [name for (name,) in journey.target.execute(sql("list_plain_columns"), {"table": table})]
        if rows and rows[0]:
            journey.target.execute(_insert(table, columns), {"rows": rows[0]})
    level_moves.count_moves(journey.target, journey.account_id, [journey.old])


def _leave(journey: Journey, kept: bool) -> None:
    """Delete the customer's rows where they were; what comes under the old address goes to the new one."""
    whom = {"account_id": journey.account_id, "customer_id": journey.old}
    erased_totals.note_erased(journey.source, whom)
    level_moves.take_back_moves(journey.source, journey.account_id, [journey.old])
    for table in [*_list_tables(journey.source), "recent_events", "scores_ahead", "risk_restated"]:
        journey.source.execute(moving.delete_of(table), whom)
    moving.give_up(journey.source, journey.account_id, journey.email, journey.into, kept)
    erased_totals.end_erasing(journey.source, whom)


def _list_tables(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute(sql("list_customer_tables")) if name not in STAYS]


def _select(table: str) -> pieces.Composed:
    query = pieces.SQL("SELECT jsonb_agg(to_jsonb(theirs))::text FROM {} AS theirs WHERE customer_id = %(customer_id)s")
    return query.format(pieces.Identifier(table))


def _insert(table: str, columns: Sequence[str]) -> pieces.Composed:
    query = pieces.SQL(
        "INSERT INTO {} ({}) SELECT {} FROM jsonb_populate_recordset(NULL::{}, %(rows)s::jsonb) ON CONFLICT DO NOTHING"
    )
    names, name = pieces.SQL(", ").join(map(pieces.Identifier, columns)), pieces.Identifier(table)
    return query.format(name, names, names, name)
