"""An account whose events are all older than the retention: they are pruned while more come, come again, and customers
are merged. What counts them stays: every event is in its day once, wherever its customer has gone."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
from redis.exceptions import RedisError

from tests.acceptance.chaos.persons import PATIENCE_SECONDS, find_status
from tests.acceptance.chaos.plant import Plant
from tests.acceptance.chaos.producer import Account, Connection, Request, Sent
from tests.waiting import wait_until
from workers.store import Connection as Database
from workers.store import only_row
from workers.upkeep.retention import RESTING

NAME = "past"
RETENTION_DAYS = 450
SETTINGS = {"WINDBACK_RETENTION_DAYS": str(RETENTION_DAYS)}
FIRST_DAY, LAST_DAY = 560, 470  # days ago
CUSTOMERS = 30
TOGETHER = 12  # events
AGAIN, MERGED = 0.3, 0.05  # shares of what is done: events come once more, two customers are merged
MERGED_AT_THE_END, LEFT_FOR_THE_END = 4, 8  # merges, and the customers that are left for them
PACE_SECONDS = 0.2

OLD = "SELECT EXISTS (SELECT FROM events WHERE occurred_at < now() - %s * interval '1 day')"
DAYS = """
SELECT event, day, sum(n)::bigint
FROM customer_days JOIN customers USING (customer_id) JOIN accounts USING (account_id)
WHERE accounts.name = %s GROUP BY event, day
"""


@dataclass
class PastConnection(Connection):
    """Imports the past, and merges customers: each at most once, so that its address never has a history again."""

    customers: list[str] = field(default_factory=lambda: [f"past{number}@example.com" for number in range(CUSTOMERS)])
    merges: int = 0

    def _request(self) -> Request:
        what = self._chance.random()
        if what < MERGED and len(self.customers) > LEFT_FOR_THE_END:
            self.merge()
        if what > 1 - AGAIN and self.sent:
            events = [self.sent[mark] for mark in self._chance.choices(list(self.sent), k=TOGETHER)]
        else:
            events = [self._make_event() for _ in range(TOGETHER)]
        body = json.dumps({"events": [each.event for each in events]}).encode()
        return Request(body, {"X-API-Key": self.key}, events, True)

    def _make_event(self) -> Sent:
        """An event of any customer, also of one who was merged into another since."""
        mark = f"past.{next(self._marks)}"
        age = timedelta(days=self._chance.randrange(LAST_DAY, FIRST_DAY), seconds=self._chance.randrange(86_400))
        event: dict[str, Any] = {
            "event": self._chance.choice(("login", "report_shared")),
            "customer_email": f"past{self._chance.randrange(CUSTOMERS)}@example.com",
            "timestamp": (datetime.now(UTC) - age).isoformat(),
            "properties": {"mark": mark},
        }
        if self._chance.random() < 0.5:
            event["event_id"] = mark
        sent = self.sent[mark] = Sent(event)
        return sent

    def merge(self) -> None:
        """Merge a customer into another one, if both are there."""
        email, into = self._chance.sample(self.customers, 2)
        base = f"http://127.0.0.1:{self.port}/api/v1/customers"
        with httpx2.Client(headers={"X-API-Key": self.key}, timeout=30) as client:

            def is_merged() -> bool:
                return find_status(lambda: client.post(f"{base}/{quote(email)}/merge", json={"into": into})) == 200

            def is_there(address: str) -> bool:
                return find_status(lambda: client.get(f"{base}/{quote(address)}")) == 200

            if not (is_there(email) and is_there(into)):
                return
            self.customers.remove(email)
            wait_until(is_merged, timeout=PATIENCE_SECONDS, interval=0.2)
            self.merges += 1


class PastAccount(Account[PastConnection]):
    """Its one connection."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        super().__init__(NAME, PastConnection(2, port, key, seed, PACE_SECONDS))

    def merge_some(self) -> None:
        """Merge customers all of whose events are pruned."""
        for _ in range(MERGED_AT_THE_END):
            self._connection.merge()

    @property
    def acknowledged(self) -> int:
        """The number of events that were answered for."""
        return sum(sent.acknowledged for sent in self._connection.sent.values())

    def describe(self) -> str:
        """What was done, in words."""
        return f"{self.acknowledged} events of the past, which are pruned, and {self._connection.merges} merges"

    def find_faults(self, databases: Sequence[Database]) -> Iterator[str]:
        """Each day counts what was sent of it, once."""
        counts: Counter[tuple[str, Any]] = Counter()
        for database in databases:
            counts.update({(event, day): n for event, day, n in database.execute(DAYS, [NAME])})
        events = self._connection.sent.values()
        sent = Counter(map(_find_day, events))
        acknowledged = Counter(_find_day(each) for each in events if each.acknowledged)
        for day in sorted({*counts, *sent}):
            if not acknowledged[day] <= counts[day] <= sent[day]:
                yield f"{counts[day]} events of {day} are counted, and {acknowledged[day]} were sent"


def _find_day(sent: Sent) -> tuple[str, Any]:
    return sent.event["event"], datetime.fromisoformat(sent.event["timestamp"]).date()


def is_pruned(database: Database) -> bool:
    """Returns whether retention has pruned all that it should."""
    return only_row(database.execute(OLD, [RETENTION_DAYS])) == (False,)


def retain(plant: Plant) -> None:
    """Have a pass of retention begin in each cell, whenever the last one was."""
    with suppress(RedisError), plant.cell_buffers() as buffers:
        for cell, redis in buffers:
            redis.delete(f"{cell.prefix}:{RESTING}")
