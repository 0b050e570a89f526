"""The whole line over cells that Citus has placed on nodes: what is sent to it, and what it has of that."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
from redis import Redis

from tests.acceptance.line import Line
from tests.waiting import wait_until
from workers.buffer import ledger
from workers.buffer.entries import hash_customer
from workers.buffer.lanes import lanes_of
from workers.cells import cell_of
from workers.settings import Settings
from workers.store import connect

CELLS = 4
CUSTOMERS = 80
NAMES = ("login", "feature_used", "report_shared")
WAIT_SECONDS = 240.0
CELL_ROUTES = ("", "/events", "/risk")
ROUTES = (
    "/api/v1/customers?sort=email&limit=30",
    "/api/v1/customers?search=c1",
    "/api/v1/analytics/events",
    "/api/v1/analytics/events/login",
    "/api/v1/analytics/risk",
    "/customers.csv",
    "/metrics",
    "/readyz",
)


class Placed:
    """An installation whose cells are placed on nodes, and what was sent to it."""

    def __init__(self, settings: Settings, nodes: list[tuple[str, int]], running: Line) -> None:
        self.settings, self.nodes, self.line = settings, nodes, running
        self.sent: Counter[str] = Counter()
        self.customers: set[str] = set()
        self._batches = iter(range(1_000_000))

    def move(self, number: int, node: int) -> None:
        """Have Citus move a cell."""
        host, port = self.nodes[node]
        with connect(self.settings.home, statement_timeout="0", lock_timeout="0") as connection:
            connection.execute(
                "SELECT citus_schema_move(%s, %s, %s, 'force_logical')", [f"cell_{number:03}", host, port]
            )

    def node_of(self, number: int) -> int:
        """The port of the node that the connections of a cell lead to."""
        with connect(self.settings.all_cells[number]) as connection:
            return connection.info.port

    def cell_of(self, email: str) -> int:
        """The number of the cell of a customer."""
        return cell_of(hash_customer(1, email), CELLS)

    def send(self, client: httpx2.Client) -> None:
        """Send 50 events, no two of which are the same; again until they are taken, as producers do."""
        batch = next(self._batches)
        events = [
            {
                "event": NAMES[(batch + number) % 3],
                "customer_email": f"c{(batch * 7 + number) % CUSTOMERS}@example.com",
                "event_id": f"{batch}-{number}",
                "properties": {"plan": "pro", "feature": f"f{number % 4}"},
            }
            for number in range(50)
        ]
        wait_until(lambda: self._is_taken(client, events), timeout=WAIT_SECONDS)
        self.sent.update(str(event["event"]) for event in events)
        self.customers.update(str(event["customer_email"]) for event in events)

    def _is_taken(self, client: httpx2.Client, events: list[dict[str, Any]]) -> bool:
        answer = client.post("/api/v1/track", json={"events": events})
        assert answer.json()["status"] == "ok" or answer.json()["code"] == "buffer_unavailable", answer.text
        return answer.status_code == 200

    def stored(self) -> Counter[str]:
        """The events in all cells."""
        return self._count("SELECT event, count(*) FROM events GROUP BY event")

    def tallied(self) -> Counter[str]:
        """The events in the totals of all cells."""
        return self._count("SELECT event, sum(n)::bigint FROM event_days GROUP BY event")

    def rolled_up(self) -> Counter[str]:
        """The events in the daily counts of customers."""
        return self._count("SELECT event, sum(n)::bigint FROM customer_days GROUP BY event")

    def _count(self, query: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for cell in self.settings.all_cells:
            with connect(cell) as connection:
                counts.update(dict(connection.execute(query.encode()).fetchall()))
        return counts

    def unaccounted(self, redis: Redis) -> int:
        """Events that the ledgers of all cells miss."""
        pipeline = redis.pipeline(transaction=False)
        for cell in self.settings.all_cells:
            for lane in lanes_of(cell).values():
                ledger.queue_read(pipeline, lane)
        return ledger.merge([ledger.parse(reply) for reply in pipeline.execute()]).unaccounted

    def expect_all(self, client: httpx2.Client, redis: Redis) -> None:
        """Everything that was sent is stored, counted, and listed, once."""
        wait_until(lambda: self.stored() == self.sent, timeout=WAIT_SECONDS)
        wait_until(lambda: self.tallied() == self.sent, timeout=WAIT_SECONDS)
        assert self.rolled_up() == self.sent
        wait_until(lambda: self.unaccounted(redis) == 0, timeout=WAIT_SECONDS)
        assert {row["email"] for row in read_customers(client)} == self.customers


def read_customers(client: httpx2.Client) -> list[dict[str, Any]]:
    """The whole list."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while not rows or cursor:
        answer = client.get(f"/api/v1/customers?sort=email&limit=30{cursor}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows += page["customers"]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    return rows


@contextmanager
def repeating(*works: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Do each work again and again beside the block. Yields what raises its error, if it has ended by one; the end of
    the block does, too."""
    stop = threading.Event()

    def repeat(work: Callable[[], None]) -> None:
        while not stop.is_set():
            work()
            time.sleep(0.05)

    with ThreadPoolExecutor(len(works)) as threads:
        running = [threads.submit(repeat, work) for work in works]

        def check() -> None:
            for each in running:
                if each.done():
                    each.result()

        try:
            yield check
        finally:
            stop.set()
        for each in running:
            each.result()
