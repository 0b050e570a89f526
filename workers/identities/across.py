"""Customers whose address, user ids and history are in several cells: moved to another address, merged.

History that goes to another cell is on its way for a moment, see relocations.py; within a cell it is renamed or merged
as where there is a single one. User ids of a customer may be in any cell.
"""

from collections.abc import Sequence

from workers import placement
from workers.buffer.entries import hash_customer
from workers.cells import cell_of
from workers.identities import changes, moving, relocations
from workers.identities.changes import AddressChange, Course
from workers.identities.moving import Merged
from workers.identities.relocations import Relocation
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection, sql


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
    connection = process.connection()
    listed = changes.list_changes(connection)
    if not listed and connection.execute(sql("any_relocation")).fetchone() != (True,):
        return []
    with placement.connect_cells(process.settings) as cells:
        relocations.finish_all(cells, cells[process.cell.number or 0])
        return make_changes(cells, listed)


def make_changes(
    cells: Sequence[Connection], listed: Sequence[AddressChange], patient: bool = False
) -> list[AddressChange]:
    """Carry out these changes. Returns those that met another customer. A patient caller waits for other processes that
    are at one of them; else it is left to these."""
    conflicts = []

    def is_free(change: AddressChange) -> bool:
        return not changes.has_history(_find_connection(cells, change.new), change.new)

    for change in changes.in_order([*listed], is_free):
        with relocations.alone(cells, change.customer_id, change.old, change.new, patient=patient) as ours:
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
