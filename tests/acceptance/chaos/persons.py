"""An account that knows its customers by ids of its own: their addresses are said before, after or never; addresses
change, and customers are merged. Every event is stored once, under the person's last address, or waits for one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from tests.acceptance.chaos.audit import describe, gather
from tests.acceptance.chaos.producer import Account, Connection, Request, Sent
from tests.waiting import wait_until
from workers.store import Connection as Database

PERSONS = 40
NEVER = 5  # every fifth has no address until the end
PACE_SECONDS = 0.05
NAMED, CHANGED, MERGED = 0.1, 0.05, 0.02  # shares of what is done: an address is said, is another one, two are merged
PATIENCE_SECONDS = 240.0  # for what was said to be carried out, through whatever trouble there is

STORED = """
SELECT events.properties ->> 'mark' AS mark, customers.email FROM events JOIN customers USING (customer_id)
WHERE events.properties ->> 'mark' LIKE 'person.%'
"""
WAITING = """
SELECT properties::jsonb ->> 'mark' AS mark, user_id FROM unresolved_events WHERE properties::jsonb ? 'mark'
"""


@dataclass
class Person:
    """Somebody, under the user id of this number. `changes`: how often the address was another one; below 0, it is
    unknown."""

    number: int
    changes: int = -1
    merged: bool = False

    @property
    def user_id(self) -> str:
        """The id that the account has given."""
        return f"user-{self.number}"

    @property
    def address(self) -> str:
        """The address that was said last."""
        return f"person{self.number}.{self.changes}@example.com"

    @property
    def other(self) -> str:
        """An address under which the same person was tracked before anybody knew."""
        return f"other{self.number}@example.com"


@dataclass
class PersonsConnection(Connection):
    """Does one thing after the other, so the last address that was said is known."""

    persons: list[Person] = field(default_factory=lambda: [Person(number) for number in range(PERSONS)])
    whose: dict[str, Person] = field(default_factory=dict)  # by mark
    others: set[str] = field(default_factory=set)  # marks of what was tracked under a person's other address
    merges: int = 0

    def _request(self) -> Request:
        person, what = self._chance.choice(self.persons), self._chance.random()
        if person.number % NEVER and what < NAMED and person.changes < 0:
            return self.name(person)
        if person.changes >= 0 and what < CHANGED:
            return self.name(person)
        if person.changes >= 0 and what > 1 - MERGED and not person.merged:
            self._merge(person)
        return self._make_events()

    def name(self, person: Person) -> Request:
        """Returns a request that says an address of a person, another one than before."""
        person.changes += 1
        body = {"user_id": person.user_id, "customer_email": person.address, "traits": {"plan": "pro"}}
        return Request(json.dumps(body).encode(), {"X-API-Key": self.key}, [], True, "/api/v1/identify")

    def _make_events(self) -> Request:
        sent = [self._make_event(self._chance.choice(self.persons)) for _ in range(self._chance.choice((1, 1, 5, 30)))]
        body = json.dumps({"events": [each.event for each in sent]}).encode()
        return Request(body, {"X-API-Key": self.key}, sent, True)

    def _make_event(self, person: Person) -> Sent:
        """An event under the user id, the first or the last address, or the one that nobody knows to be the same
        person's."""
        mark = f"person.{next(self._marks)}"
        self.whose[mark] = person
        event: dict[str, Any] = {"event": "login", "event_id": mark, "properties": {"mark": mark}}
        place = self._chance.random()
        if place < 0.2:
            event["customer_email"] = person.other
            self.others.add(mark)
        elif place < 0.4 and person.changes >= 0:
            event["customer_email"] = f"person{person.number}.0@example.com"
        elif place < 0.5 and person.changes >= 0:
            event["customer_email"] = person.address
        else:
            event["user_id"] = person.user_id
        sent = self.sent[mark] = Sent(event)
        return sent

    def _merge(self, person: Person) -> None:
        """Merge the other customer into the person, once both are there, and the person is nowhere else: before, there
        is nothing to merge, or the address was not the person's yet. Its user id has to have come along, too: a
        statement that still waits would find the merged history, and take it for a stranger's."""
        base = f"http://127.0.0.1:{self.port}/api/v1/customers"
        with httpx2.Client(headers={"X-API-Key": self.key}, timeout=30) as client:

            def status_of(email: str) -> int:
                return find_status(lambda: client.get(f"{base}/{quote(email)}"))

            def is_merged() -> bool:
                body = {"into": person.address}
                return find_status(lambda: client.post(f"{base}/{quote(person.other)}/merge", json=body)) == 200

            def has_come() -> bool:
                with suppress(httpx2.TransportError):
                    answer = client.get(f"{base}/{quote(person.address)}")
                    return person.user_id in answer.json().get("user_ids", ())
                return False

            former = (f"person{person.number}.{change}@example.com" for change in range(person.changes))
            if not has_come() or status_of(person.other) != 200 or {*map(status_of, former)} - {404}:
                return
            person.merged = True
            wait_until(is_merged, timeout=PATIENCE_SECONDS, interval=0.2)
            self.merges += 1

    def owner_of(self, mark: str) -> str:
        """Returns the address under which an event has to be."""
        person = self.whose[mark]
        return person.other if mark in self.others and not person.merged else person.address


def find_status(ask: Any) -> int:
    """Returns the status of an answer; 0 if there was none."""
    try:
        return int(ask().status_code)
    except httpx2.TransportError:
        return 0


class PersonsAccount(Account[PersonsConnection]):
    """Its one connection."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        super().__init__("persons", PersonsConnection(1, port, key, seed, PACE_SECONDS))

    def name_all(self) -> None:
        """Say an address of everybody who has none yet."""
        for person in self._connection.persons:
            if person.changes < 0:
                self._connection.deliver(self._connection.name(person))
        self._connection.close()

    def describe(self) -> str:
        """The changes so far, in words."""
        known = [person.changes for person in self._connection.persons if person.changes >= 0]
        return f"{len(known)} addresses of user ids, changed {sum(known)} times, {self._connection.merges} merges"

    def find_waiting_faults(self, databases: Sequence[Database], counted: int) -> Iterator[str]:
        """The faults while user ids lack an address: their events wait, all others are stored, and the ledger counts as
        many unresolved events as there are."""
        waiting = {row.mark: row.user_id for row in gather(databases, WAITING)}
        total = len(gather(databases, WAITING))
        if counted != total:
            yield f"the ledger has {counted} unresolved events, and {total} wait"
        expected = {mark for mark, sent in self._connection.sent.items() if sent.acknowledged and self._waits(mark)}
        yield from describe("lost while they wait", expected - waiting.keys())
        yield from describe("wait though their address is known", (mark for mark in waiting if not self._waits(mark)))

    def find_faults(self, databases: Sequence[Database]) -> Iterator[str]:
        """The faults once every user id has an address: each event is under the last address of its person."""
        stored = gather(databases, STORED)
        wrong = [row for row in stored if row.mark in self._connection.whose and row.email != self._owner_of(row)]
        yield from describe("stored under another address", wrong)
        left = gather(databases, WAITING)
        yield from describe("wait though everybody is known", left)

    def _waits(self, mark: str) -> bool:
        return self._connection.whose[mark].changes < 0 and "user_id" in self._connection.sent[mark].event

    def _owner_of(self, row: Any) -> str:
        return self._connection.owner_of(row.mark)
