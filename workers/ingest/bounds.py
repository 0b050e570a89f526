"""A worker's memory of the customers that it stored, and the bound on the details kept of one of them.

The rollup tells features and pages apart, so an integration user with pages like `/orders/123456` would get a row an
event, and the time that a score takes grows with them. So a customer has at most MOST_DETAILS of them a day and name;
the rest is counted under "". The worker counts in memory, and asks Postgres only where there are many.
"""

from collections.abc import Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from workers.buffer.fold import DayCount, DayKey, Fold, Span, merge_counts
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


def take_new_customers(memory: Memory, fold: Fold) -> list[Span]:
    """Returns the customers that may not be in the table yet, in their order; they are taken for known from now on."""
    new = sorted(fold.spans.keys() - memory.customers)
    if len(memory.customers) + len(new) > REMEMBERED_CUSTOMERS:
        memory.customers.clear()
    memory.customers.update(new)
    return [fold.spans[customer_id] for customer_id in new]


def bound_details(connection: Connection, memory: Memory, days: Mapping[DayKey, DayCount]) -> Mapping[DayKey, DayCount]:
    """Returns the counts, with each detail that is one too many for its customer, day and name counted under ""."""
    over = [key for key in days if key[3] and _is_over(connection, memory, key)]
    if not over:
        return days
    bounded = dict(days)
    for key in over:
        count, rest = bounded.pop(key), (*key[:3], "")
        bounded[rest] = merge_counts(bounded[rest], count) if rest in bounded else count
    return bounded


def _is_over(connection: Connection, memory: Memory, key: DayKey) -> bool:
    place, detail = key[:3], key[3]
    details = memory.details.get(place)
    if details is None:
        first = memory.first.setdefault(place, detail)
        if first == detail:
            return False
        details = memory.details[place] = {first}
        _forget(memory)
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
