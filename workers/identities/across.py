"""Customers whose address, user ids and history are in several cells: erased, moved to another address, merged.

History that goes to another cell is on its way for a moment, see relocations.py; within a cell it is renamed or merged
as where there is a single one. User ids of a customer may be in any cell.
"""

from collections.abc import Sequence

from workers import placement
from workers.buffer.entries import hash_customer, hash_user, normalise_email
from workers.buffer.lanes import lanes_of
from workers.buffer.stream import last_positions
from workers.cells import Cell, cell_of
from workers.identities import changes, moving, relocations
from workers.identities.changes import AddressChange, Course
from workers.identities.moving import Merged
from workers.identities.relocations import Relocation
from workers.process import Process
from workers.redis import REDIS_AWAY, command_client
from workers.settings import Settings
from workers.store import Connection, presence, sql
from workers.upkeep import erasure
from workers.upkeep.erasure import Receipt

MOST_ADDRESSES = 5  # that a customer may pass while it is erased


def find_home_of(settings: Settings, customer_id: str) -> Cell:
    """Returns the cell of a customer."""
    return settings.all_cells[cell_of(customer_id, settings.cells)]


def erase(settings: Settings, account_id: int, email: str, by_user_id: bool = False) -> Receipt:
    """Erase a customer, known or not, in all cells: history is in one of them or on its way, user ids may be in others.
    `email` may be a user id. Raises psycopg.Error, and then it has to be done again."""
    asked = hash_user(account_id, email) if by_user_id else hash_customer(account_id, normalise_email(email))
    customer_id = _find_owner(settings, account_id, asked)
    for _ in range(MOST_ADDRESSES):
        receipt = _erase_id(settings, account_id, customer_id)
        moved_to = _find_owner(settings, account_id, customer_id)
        if moved_to == customer_id:
            break
        customer_id = moved_to  # it has left for there meanwhile
    return receipt


def _find_owner(settings: Settings, account_id: int, customer_id: str) -> str:
    """Returns the customer whose this user id, or given-up address, is."""
    with presence.enter(find_home_of(settings, customer_id)) as connection:
        row = connection.execute(sql("find_owners"), {"customer_ids": [customer_id]}).fetchone()
    return hash_customer(account_id, row[1]) if row else customer_id


def _erase_id(settings: Settings, account_id: int, customer_id: str) -> Receipt:
    home = find_home_of(settings, customer_id)
    for cell in settings.all_cells:
        with presence.enter(cell) as connection:
            relocations.erase(connection, customer_id)
            if cell != home:
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
    old, new = hash_customer(account_id, email), hash_customer(account_id, into)
    with placement.connect_cells(settings) as cells, relocations.alone(cells, old, patient=True):
        source, target = _find_connection(cells, old), _find_connection(cells, new)
        finished = relocations.finish(cells, old)
        relocation = Relocation.begin(account_id, email, into)
        if source is target:
            merged = relocations.merge(source, relocation)
            relocations.finish(cells, old)
            return merged
        if not changes.has_history(source, old):
            return _find_done(source, old, into, finished)
        moving.drop_given_up(target, account_id, into)
        relocations.depart(source, relocation)
        return (relocations.finish(cells, old) or [Merged(into, 0)])[-1]


def _find_done(source: Connection, old: str, into: str, finished: Sequence[Merged]) -> Merged | None:
    """Returns the result of a merge that was done before; None if there was none."""
    row = source.execute(sql("find_owners"), {"customer_ids": [old]}).fetchone()
    if row is None or row[1] != into:
        return None
    return Merged(into, sum(merged.events for merged in finished))


def apply_changes(process: Process) -> list[AddressChange]:
    """Carry out the changes of addresses that were announced in this cell, as moving.apply_changes does within one; and
    what was interrupted."""
    connection, conflicts = process.connection(), []
    listed = changes.list_changes(connection)
    if not listed and connection.execute(sql("any_relocation")).fetchone() != (True,):
        return []
    with placement.connect_cells(process.settings) as cells:
        relocations.finish_all(cells, cells[process.cell.number or 0])

        def is_free(change: AddressChange) -> bool:
            return not changes.has_history(_find_connection(cells, change.new), change.new)

        for change in changes.in_order(listed, is_free):
            with relocations.alone(cells, change.customer_id, change.old, change.new) as ours:
                if ours and _carry_out(cells, change).is_conflict:
                    conflicts.append(change)
    return conflicts


def _carry_out(cells: Sequence[Connection], change: AddressChange) -> Course:
    """Move the customer, or the user id alone, unless that was done since the change was listed. May be done again."""
    relocations.finish_change(cells, change)
    if change.is_late:
        return _bring_late_history(cells, change)
    row = _find_connection(cells, change.customer_id).execute(sql("is_announced"), change._asdict()).fetchone()
    if row is None:
        return Course(moves=False)
    course, change = Course(moves=True), change._replace(email=row[0], apart=row[1], since_us=row[2])
    if change.email != change.next_email:  # else it came along with another user id
        course = _choose_course(cells, change)
        moving.drop_given_up(_find_connection(cells, change.new), change.account_id, change.next_email)
        if course.moves:
            _move(cells, change)
    relocations.end_change(cells, change, course.apart)
    return course


def _bring_late_history(cells: Sequence[Connection], change: AddressChange) -> Course:
    """Give the history of a late address to the present one, unless that was done since it was listed. May be done
    again."""
    connection = _find_connection(cells, change.customer_id)
    row = connection.execute(sql("is_late_address"), change._asdict()).fetchone()
    if row is None:
        return Course(moves=False)
    course = changes.choose_late_course(cells, _find_connection(cells, change.old), change, apart=row[0])
    if course.moves:
        _move(cells, change)
    connection.execute(sql("end_late_address"), change._asdict())
    return course


def _choose_course(cells: Sequence[Connection], change: AddressChange) -> Course:
    source, target = _find_connection(cells, change.old), _find_connection(cells, change.new)
    has_old, is_shared = changes.has_history(source, change.old), changes.is_shared(cells, change)
    has_new = changes.has_history_before(target, change.new, None if is_shared else change.since_us)
    row = source.execute(sql("find_owners"), {"customer_ids": [change.old]}).fetchone()
    was_moved = row is not None and row[1] == change.next_email
    return changes.choose_course(change, has_old, has_new, is_shared, was_moved)


def _move(cells: Sequence[Connection], change: AddressChange) -> None:
    """Move a customer to an address, which rarely has a history. User ids that were there before stay apart from it."""
    source, account_id = _find_connection(cells, change.old), change.account_id
    if changes.has_history(source, change.old):
        for cell in cells:
            cell.execute(sql("stay_apart"), {"owner": change.new, "customer_id": change.customer_id})
    way = account_id, change.email, change.next_email
    subject = None if change.is_late else change.customer_id
    relocation = Relocation.begin(*way, subject, changes.is_kept(cells, change.old))
    if source is not _find_connection(cells, change.new):
        relocations.depart(source, relocation)
    elif changes.has_history(source, change.old) and changes.has_history(source, change.new):
        relocations.merge(source, relocation)
    else:
        relocations.rename(source, relocation)
    relocations.finish(cells, change.old)


def _find_connection(cells: Sequence[Connection], customer_id: str) -> Connection:
    return cells[cell_of(customer_id, len(cells))]
