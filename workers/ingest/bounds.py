"""A worker's memory of the customers that it stored, and the bound on the details kept of one of them.

The rollup tells features and pages apart, so an integration user with pages like `/orders/123456` would get a row an
event, and the time that a score takes grows with them. So a customer has at most MOST_DETAILS of them a day and name;
the rest is counted under "". The worker counts in memory, and asks Postgres only where there are many.
"""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from workers.buffer.fold import Fold, add_up
from workers.store import Connection, sql

MOST_DETAILS = 100  # of a customer, day and name
ASK_AT = 20  # details that this worker has seen: from here on Postgres tells what others have stored
REMEMBERED_DAYS = 50_000
REMEMBERED_CUSTOMERS = 200_000

CustomerDay = tuple[str, int, str]  # customer_id, day since 1970, event


class Memory(NamedTuple):
    """The state of the tables behind a connection, as far as it is remembered."""

    customers: set[str]  # that are there
    first: dict[CustomerDay, str]  # the only detail so far
    details: dict[CustomerDay, set[str]]  # where there are several


_memories: WeakKeyDictionary[Connection, Memory] = WeakKeyDictionary()


def find_memory(connection: Connection) -> Memory:
    """Returns what is known of the tables behind a connection."""
    return _memories.setdefault(connection, Memory(set(), {}, {}))


def take_new_customers(memory: Memory, added: Fold) -> list[int]:
    """Returns the places of customers that may not be in the table yet; they are taken for known from now on."""
    new = [place for place, customer in enumerate(added.customers) if customer.customer_id not in memory.customers]
    if len(memory.customers) + len(new) > REMEMBERED_CUSTOMERS:
        memory.customers.clear()
    memory.customers.update(added.customers[place].customer_id for place in new)
    return new


def bound_details(connection: Connection, memory: Memory, added: Fold) -> Fold:
    """Returns what is added, with each detail that is one too many for its customer, day and name counted under ""."""
    _forget(memory)
    over = _find_over(connection, memory, added)
    if not over:
        return added
    bounded = [added.words[place] for place in added.days.words.tolist()]
    for row in over:
        bounded[row] = bounded[row][0], ""
    words = sorted(set(bounded))
    place_of = {pair: place for place, pair in enumerate(words)}
    places = np.array([place_of[pair] for pair in bounded], np.int64)
    return added._replace(words=words, days=add_up(added.days._replace(words=places)))


def _find_over(connection: Connection, memory: Memory, added: Fold) -> list[int]:
    """Returns the rows of daily counts whose detail is one too many."""
    ids, days, first = [customer.customer_id for customer in added.customers], added.days, memory.first
    keys = zip(days.customer.tolist(), days.day.tolist(), days.words.tolist(), strict=True)
    over = []
    for row, (customer, day, words) in enumerate(keys):
        event, detail = added.words[words]
        if not detail or first.setdefault(place := (ids[customer], day, event), detail) == detail:
            continue
        if _is_over(connection, memory, place, detail):
            over.append(row)
    return over


def _is_over(connection: Connection, memory: Memory, place: CustomerDay, detail: str) -> bool:
    details = memory.details.setdefault(place, {memory.first[place]})
    if detail in details:
        return False
    if len(details) == ASK_AT:
        details |= _read_details(connection, place)
    if len(details) >= MOST_DETAILS:
        return detail not in details
    details.add(detail)
    return False


def _read_details(connection: Connection, place: CustomerDay) -> set[str]:
    customer_id, day, event = place
    parameters = {"customer_id": customer_id, "day": day, "event": event, "limit": MOST_DETAILS}
    return {detail for (detail,) in connection.execute(sql("list_details"), parameters)}


def _forget(memory: Memory) -> None:
    if len(memory.first) > REMEMBERED_DAYS:
        memory.first.clear()
        memory.details.clear()
