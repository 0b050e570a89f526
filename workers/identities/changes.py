"""Changes of address. The course of each follows from the histories and the user ids at both addresses."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from workers.buffer.entries import hash_customer
from workers.store import Connection, only_row, sql
from workers.warnings import Warnings

CHANGES_TOGETHER = 100
IN_USE = (
    "An address that was said of a user id belongs to another customer, and both have events: the user id has it from "
    "now on, the earlier events stay. POST /api/v1/customers/{email}/merge makes them one."
)


class AddressChange(NamedTuple):
    """An address that is to follow another one for a user id. `is_late`: the user id has it already, and the address
    before became known afterwards, so that its history alone is to follow."""

    customer_id: str  # the user id's
    account_id: int
    user_id: str
    email: str
    next_email: str
    stated_us: int
    is_late: bool
    since_us: int | None  # what was received from then on under the address that was stated is the user id's
    apart: bool = False  # the history at the address was there before

    @property
    def old(self) -> str:
        """The id of the address before."""
        return hash_customer(self.account_id, self.email)

    @property
    def new(self) -> str:
        """The id of the address from now on."""
        return hash_customer(self.account_id, self.next_email)


class Course(NamedTuple):
    """The course of a change of address: with the history or alone; then to an address with a history or without."""

    moves: bool
    apart: bool = False
    is_conflict: bool = False


def list_changes(connection: Connection) -> list[AddressChange]:
    """Returns changes that were announced, the earliest first."""
    return _list(connection, None, ())


def list_changes_of(connection: Connection, account_id: int, emails: Iterable[str]) -> list[AddressChange]:
    """Returns changes that wait in this cell to bring one of these addresses to another one, or another one to it."""
    return _list(connection, account_id, emails)


def _list(connection: Connection, account_id: int | None, emails: Iterable[str]) -> list[AddressChange]:
    whose = {"account_id": account_id, "emails": [*emails]}
    rows = connection.execute(sql("list_changes"), {**whose, "limit": CHANGES_TOGETHER})
    return [AddressChange(*row) for row in rows.fetchall()]


def in_order(changes: list[AddressChange], is_free: Callable[[AddressChange], bool]) -> Iterator[AddressChange]:
    """Yields the changes in the order in which they are made. Late addresses come first, since a further change moves
    the history of the present address. Changes to an address without a history come next: where addresses are passed
    on, each is left before its next user comes."""
    while changes:
        change = next((each for each in changes if each.is_late or is_free(each)), changes[0])
        changes.remove(change)
        yield change


def choose_course(change: AddressChange, has_old: bool, has_new: bool, is_shared: bool, was_moved: bool) -> Course:
    """Returns how a change goes. `has_old`, `has_new`: whether the addresses have a history; `is_shared`: whether one
    of them is another user id's as well; `was_moved`: whether the history is there already, from an attempt before."""
    if was_moved:
        return Course(moves=True)
    if change.apart or has_new:
        return Course(False, apart=has_new, is_conflict=has_old and has_new and not change.apart)
    return Course(moves=has_old or not is_shared)


def find_apart(connection: Connection, change: AddressChange) -> AddressChange:
    """Returns the change as it is now: those before it may have brought a history to the user id's address."""
    row = connection.execute(sql("is_apart"), {"customer_id": change.customer_id}).fetchone()
    return change._replace(apart=row[0], since_us=row[1]) if row else change


def choose_late_course(cells: Sequence[Connection], source: Connection, change: AddressChange, apart: bool) -> Course:
    """Returns how the history of a late address goes. It stays if another user id has that address or the present one,
    if it leads elsewhere, or if it was there before the address was stated: that is a conflict. `source`: the cell of
    the late address; `apart`: the present one has another customer's history."""
    leads_on = source.execute(sql("find_owners"), {"customer_ids": [change.old]}).fetchone() is not None
    if apart or leads_on or change.old == change.new or is_shared(cells, change):
        return Course(moves=False)
    was_there = has_history_before(source, change.old, change.since_us)
    return Course(moves=not was_there, is_conflict=was_there)


def has_history(connection: Connection, customer_id: str) -> bool:
    """Returns whether anything is stored of a customer."""
    (exists,) = only_row(connection.execute(sql("has_history"), {"customer_id": customer_id}))
    return bool(exists)


def has_history_before(connection: Connection, customer_id: str, since_us: int | None) -> bool:
    """Returns whether anything is stored of a customer that was received before a moment; None: at any time."""
    if since_us == 0 or not has_history(connection, customer_id):
        return False
    before = {"customer_id": customer_id, "since_us": since_us}
    return since_us is None or bool(only_row(connection.execute(sql("has_history_before"), before))[0])


def is_shared(cells: Iterable[Connection], change: AddressChange) -> bool:
    """Returns whether one of the addresses is another user id's as well."""
    both = {"owners": [change.old, change.new], "customer_id": change.customer_id}
    return any(only_row(connection.execute(sql("are_shared"), both))[0] for connection in cells)


def is_kept(cells: Iterable[Connection], customer_id: str) -> bool:
    """Returns whether user ids stay at an address when its history leaves."""
    asked = {"customer_id": customer_id}
    return any(only_row(connection.execute(sql("has_apart"), asked))[0] for connection in cells)


def warn_of_conflicts(warnings: Warnings, conflicts: Iterable[AddressChange]) -> None:
    """Warn of changes of address that met another customer's history."""
    for change in conflicts:
        warnings.add(change.account_id, "address_in_use", "customer_email", IN_USE)
