"""Erasing a person: the customer at an address with everything that identities bind to it, in whatever cell that is.

Addresses that wait in the buffers are stored first, and changes of address are made, by the rules that hold for all: a
history that was to join the person's is erased with it, and one that was to stay stays. An erasure that finds a further
change under its lock starts again.

A person's user ids and given-up addresses may be in other cells than the history. No transaction goes over two cells,
so the row through which the person was found is deleted last: an erasure that was interrupted finds all again.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import psycopg

from workers.buffer.entries import hash_customer, hash_user, normalise_email
from workers.buffer.lanes import lanes_of
from workers.buffer.stream import last_positions
from workers.cells import Cell, cell_of
from workers.identities import across, changes, moving, relocations, statements
from workers.identities.changes import AddressChange
from workers.identities.statements import WaitingStatement
from workers.redis import REDIS_AWAY, command_client
from workers.settings import Settings
from workers.store import Connection, presence, sql
from workers.upkeep import erased_totals, erasure
from workers.upkeep.erasure import Receipt, Unsettled

GOES_ON = "the addresses of this customer go on changing; erase it again"
MOST_ATTEMPTS = 20  # at erasing a person whose addresses change meanwhile


class Person(NamedTuple):
    """Whom an address or a user id stands for: a customer, or a user id whose address isn't known."""

    account_id: int
    asked: str  # the id of the address or user id
    customer_id: str
    email: str | None


class WantedErasure(NamedTuple):
    """A person to be erased, known or not, by an address or a user id."""

    account_id: int
    email: str
    by_user_id: bool = False


class ErasureResult(NamedTuple):
    """The receipt of an erasure, and the changes of address before it that met another customer's history."""

    receipt: Receipt
    conflicts: list[AddressChange]


def erase(settings: Settings, account_id: int, email: str, by_user_id: bool = False) -> Receipt:
    """Erase a person, known or not, in all cells. `email` may be a user id. Raises psycopg.Error, and then it has to be
    done again."""
    (result,) = erase_each(settings, [WantedErasure(account_id, email, by_user_id)])
    if isinstance(result, psycopg.Error):
        raise result
    return result.receipt


def erase_each(settings: Settings, wanted: Sequence[WantedErasure]) -> list[ErasureResult | psycopg.Error]:
    """Erase these persons one by one, over the same connections. Returns an error in place of a result for one that has
    to be done again. Raises psycopg.Error if one cell can't be reached, and then all have to be done again."""
    waiting = statements.read_waiting(settings)
    with _enter_cells(settings) as cells, _commit_together(cells):
        results = [_try(settings, cells, each, waiting) for each in wanted]
        with suppress(psycopg.Error):  # else the next tally does it
            for cell in cells:
                erased_totals.leave_out(cell)
    return results


@contextmanager
def _commit_together(cells: Sequence[Connection]) -> Iterator[None]:
    """Write the commits of the block to disk once, at its end: storing would wait for each write. Over several cells
    each commit must be on disk before the next."""
    if len(cells) > 1:
        yield
        return
    cells[0].execute(sql("commit_later"))
    yield
    cells[0].execute(sql("commit_now"))
    cells[0].execute(sql("flush_commits"))


def _try(
    settings: Settings, cells: Sequence[Connection], wanted: WantedErasure, waiting: list[WaitingStatement]
) -> ErasureResult | psycopg.Error:
    try:
        return _erase_person(settings, cells, wanted, waiting)
    except psycopg.Error as error:
        return error


def _erase_person(
    settings: Settings, cells: Sequence[Connection], wanted: WantedErasure, waiting: list[WaitingStatement]
) -> ErasureResult:
    person, conflicts = _describe(wanted), list[AddressChange]()
    emails: set[str] = set() if person.email is None else {person.email}
    for _ in range(MOST_ATTEMPTS):
        person = _settle(cells, person, emails, waiting, conflicts)
        try:
            receipt = _erase(settings, cells, person)
        except Unsettled:
            continue
        if _follow(cells, person) == person:  # else it has left for there meanwhile
            return ErasureResult(receipt, conflicts)
    raise Unsettled(GOES_ON)


def _describe(wanted: WantedErasure) -> Person:
    if wanted.by_user_id:
        asked = hash_user(wanted.account_id, wanted.email)
        return Person(wanted.account_id, asked, asked, None)
    email = normalise_email(wanted.email)
    asked = hash_customer(wanted.account_id, email)
    return Person(wanted.account_id, asked, asked, email)


@contextmanager
def _enter_cells(settings: Settings) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(presence.enter(cell)) for cell in settings.all_cells]


def _settle(
    cells: Sequence[Connection],
    person: Person,
    emails: set[str],
    waiting: list[WaitingStatement],
    conflicts: list[AddressChange],
) -> Person:
    """Take in what the buffers say of this person's addresses, and make the changes that wait. Returns the person as it
    is then; its address is added to `emails`."""
    for _ in range(MOST_ATTEMPTS):
        person = _follow(cells, person)
        if person.email is not None:
            emails.add(person.email)
        if waiting and statements.store_waiting(cells, waiting, _list_ids(cells, person, emails)):
            continue
        announced = [change for cell in cells for change in changes.list_changes_of(cell, person.account_id, emails)]
        if not announced:
            return person
        if len(cells) > 1:
            conflicts += across.make_changes(cells, announced, patient=True)
        else:
            conflicts += moving.make_changes(cells[0], announced)
    raise Unsettled(GOES_ON)


def _list_ids(cells: Sequence[Connection], person: Person, emails: set[str]) -> set[str]:
    """Returns the ids of all addresses and user ids by which the person is known."""
    whose = {"customer_id": person.customer_id}
    names = {name for cell in cells for (name,) in cell.execute(sql("list_names"), whose)}
    return {person.asked, person.customer_id, *names, *(hash_customer(person.account_id, email) for email in emails)}


def _follow(cells: Sequence[Connection], person: Person) -> Person:
    """Returns the person with the address that its user id or given-up address leads to."""
    passed = set()
    while person.customer_id not in passed:
        passed.add(person.customer_id)
        cell = cells[cell_of(person.customer_id, len(cells))]
        row = cell.execute(sql("find_owners"), {"customer_ids": [person.customer_id]}).fetchone()
        if row is None:
            break
        person = person._replace(customer_id=hash_customer(person.account_id, row[1]), email=row[1])
    return person


def _erase(settings: Settings, cells: Sequence[Connection], person: Person) -> Receipt:
    if len(cells) == 1:
        return _erase_history(settings, cells, person, 0)
    for connection in cells:
        relocations.erase(connection, person.customer_id)
    home, last = (cell_of(id_, len(cells)) for id_ in (person.customer_id, person.asked))
    for number in range(len(cells)):
        if number not in (home, last):
            _erase_names(settings, cells, person, number)
    receipt = _erase_history(settings, cells, person, home)
    if last != home:
        _erase_names(settings, cells, person, last)
    return receipt


def _erase_history(settings: Settings, cells: Sequence[Connection], person: Person, number: int) -> Receipt:
    positions = read_positions(settings.all_cells[number])
    return erasure.erase_within(cells[number], person.account_id, person.customer_id, positions, person.email)


def _erase_names(settings: Settings, cells: Sequence[Connection], person: Person, number: int) -> None:
    positions = read_positions(settings.all_cells[number])
    erasure.erase_names(cells[number], person.account_id, person.customer_id, positions, person.email)


def read_positions(cell: Cell) -> dict[str, int] | None:
    """Returns the ends of the lanes of a cell's buffer; None while Redis is away: then clocks have to do."""
    try:
        with command_client(cell.buffer_url) as redis:
            return last_positions(redis, lanes_of(cell))
    except REDIS_AWAY:
        return None
