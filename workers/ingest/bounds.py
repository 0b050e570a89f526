"""A worker's memory of the customers that it stored, and the bound on the details kept of one of them.

The rollup tells features and pages apart, so an integration user with pages like `/orders/123456` would get a row an
event, and the time that a score takes grows with them. So a customer has at most MOST_DETAILS of them a day and name;
the rest is counted under "". The worker counts in memory, and asks Postgres only where there are many.
"""

from itertools import islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from workers.buffer.fold import Fold, add_up
from workers.ingest.detail_counts import DetailCounts
from workers.store import Connection, sql

MOST_DETAILS = 100  # of a customer, day and name
ASK_AT = 20  # details that this worker has seen: beyond them Postgres tells which are stored
REMEMBERED_DAYS = 50_000
REMEMBERED_CUSTOMERS = 200_000

CustomerDay = tuple[str, int, str]  # customer_id, day since 1970, event


class Memory(NamedTuple):
    """The state of the tables behind a connection, as far as it is remembered."""

    customers: set[str]  # that are there
    counts: DetailCounts  # of all customers
    details: dict[CustomerDay, set[str]]  # where there are many


_memories: WeakKeyDictionary[Connection, Memory] = WeakKeyDictionary()


def find_memory(connection: Connection) -> Memory:
    """Returns what is known of the tables behind a connection."""
    if connection not in _memories:
        _memories[connection] = Memory(set(), DetailCounts(), {})
    return _memories[connection]


def has_new_customers(memory: Memory, added: Fold) -> bool:
    """Returns True if some of the customers, of those whose address is known, may not be in the table yet."""
    return any(customer.customer_id not in memory.customers and not customer.user_id for customer in added.customers)


def take_new_customers(memory: Memory, added: Fold, most: int | None = None) -> list[int]:
    """Returns the places of customers that may not be in the table yet, the first `most` of them; they are taken for
    known from now on."""
    customers = enumerate(added.customers)
    new = list(islice((place for place, customer in customers if customer.customer_id not in memory.customers), most))
    if len(memory.customers) + len(new) > REMEMBERED_CUSTOMERS:
        memory.customers.clear()
    memory.customers.update(added.customers[place].customer_id for place in new)
    return new


def bound_details(connection: Connection, memory: Memory, added: Fold) -> Fold:
    """Returns what is added, with each detail that is one too many for its customer, day and name counted under ""."""
    if len(memory.details) > REMEMBERED_DAYS:
        memory.details.clear()
    many = memory.counts.add(added) > ASK_AT
    over = [row for row in np.flatnonzero(many).tolist() if _is_over(connection, memory, added, row)]
    if not over:
        return added
    bounded = [added.words[place] for place in added.days.words.tolist()]
    for row in over:
        bounded[row] = bounded[row][0], ""
    words = sorted(set(bounded))
    place_of = {pair: place for place, pair in enumerate(words)}
    places = np.array([place_of[pair] for pair in bounded], np.int64)
    return added._replace(words=words, days=add_up(added.days._replace(words=places)))


def _is_over(connection: Connection, memory: Memory, added: Fold, row: int) -> bool:
    """Returns whether the detail of this row of daily counts is one too many."""
    event, detail = added.words[added.days.words[row]]
    place = added.customers[added.days.customer[row]].customer_id, int(added.days.day[row]), event
    if place not in memory.details:
        memory.details[place] = _read_details(connection, place)
    details = memory.details[place]
    if detail in details or len(details) >= MOST_DETAILS:
        return detail not in details
    details.add(detail)
    return False


def _read_details(connection: Connection, place: CustomerDay) -> set[str]:
    customer_id, day, event = place
    parameters = {"customer_id": customer_id, "day": day, "event": event, "limit": MOST_DETAILS}
    return {detail for (detail,) in connection.execute(sql("list_details"), parameters)}
