"""Four cells that Citus has placed on the nodes of its cluster: the whole line, while cells move.

CITUS_NODES names the workers that the coordinator of CITUS_URL shall use: `host:port`, with blanks between.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from redis import Redis

from tests.acceptance.citus import cluster
from tests.acceptance.line import Line, line
from tests.waiting import wait_until
from workers import placement
from workers.accounts import keys
from workers.buffer import ledger
from workers.buffer.lanes import lanes_of
from workers.settings import Settings
from workers.store import connect, only_row

CELLS = 4
CUSTOMERS = 80
NAMES = ("login", "feature_used", "report_shared")
WAIT_SECONDS = 120.0

pytestmark = [
    pytest.mark.skipif(
        not {"CITUS_URL", "CITUS_NODES"} <= os.environ.keys(),
        reason="CITUS_URL and CITUS_NODES name no cluster of Citus, and no registry has Citus to start",
    ),
    pytest.mark.timeout(1200),
]


class Placed:
    """An installation whose cells are placed on nodes, and what was sent to it."""

    def __init__(self, settings: Settings, nodes: list[tuple[str, int]], running: Line) -> None:
        self.settings, self.nodes, self.line = settings, nodes, running
        self.sent: Counter[str] = Counter()

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

    def send(self, client: httpx2.Client, batch: int) -> None:
        """Send 50 events, no two of which are the same."""
        events = [
            {
                "event": NAMES[(batch + number) % 3],
                "customer_email": f"c{(batch * 7 + number) % CUSTOMERS}@example.com",
                "event_id": f"{batch}-{number}",
                "properties": {"plan": "pro", "feature": f"f{number % 4}"},
            }
            for number in range(50)
        ]
        assert client.post("/api/v1/track", json={"events": events}).json() == {"status": "ok"}
        self.sent.update(str(event["event"]) for event in events)

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


@pytest.fixture
def placed(redis_url: str, nodes: list[tuple[str, int]], tmp_path: Path) -> Iterator[Placed]:
    """A line over four cells on the nodes, not started yet."""
    with ExitStack() as stack:
        url = stack.enter_context(cluster.make_cluster(os.environ["CITUS_URL"], nodes, f"cells_{os.getpid()}"))
        settings = Settings(database_url=url, redis_url=redis_url, data_dir=tmp_path, cells=CELLS)
        placement.migrate_all(settings)
        cluster.place(url, [cell.schema or "" for cell in settings.all_cells], nodes)
        running = stack.enter_context(line(settings, tmp_path / "line.log"))
        running.environment["WINDBACK_CELLS"] = str(CELLS)
        yield Placed(settings, nodes, running)


@pytest.fixture
def client(placed: Placed, redis: Redis) -> Iterator[httpx2.Client]:
    """A client with a secret key, of the line that runs."""
    with connect(placed.settings.home) as home:
        key = keys.create(home, redis, "acme")
    placed.line.start()
    placed.line.start("ingest.2", "score.2")
    with httpx2.Client(base_url=placed.line.url, headers={"X-API-Key": key.secret}, timeout=30) as made:
        wait_until(lambda: made.post("/api/v1/track", json={"events": []}).status_code == 422, timeout=WAIT_SECONDS)
        wait_until(lambda: made.get("/readyz").status_code == 200, timeout=WAIT_SECONDS)
        yield made


def test_cells_are_moved_while_events_come_in(placed: Placed, client: httpx2.Client, redis: Redis) -> None:
    stop = threading.Event()

    def keep_sending(first: int) -> None:
        batch = first
        while not stop.is_set():
            placed.send(client, batch)
            batch += 2
            time.sleep(0.05)

    before = [placed.node_of(number) for number in range(CELLS)]
    assert len(set(before)) == len(placed.nodes)
    with ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(keep_sending, first) for first in range(2)]
        wait_until(lambda: any(each.done() for each in sending) or placed.stored().total() > 500, timeout=WAIT_SECONDS)
        assert not [each.exception() for each in sending if each.done()]
        for number, node in ((0, 1), (1, 0), (0, 0), (2, 1)):
            sent = placed.sent.total()
            placed.move(number, node)
            assert placed.node_of(number) == placed.nodes[node][1]
            wait_until(lambda sent=sent: placed.sent.total() > sent + 200, timeout=WAIT_SECONDS)  # type: ignore[misc]
        stop.set()
        for each in sending:
            each.result()
    wait_until(lambda: placed.stored() == placed.sent, timeout=WAIT_SECONDS)
    wait_until(lambda: placed.tallied() == placed.sent, timeout=WAIT_SECONDS)
    assert placed.rolled_up() == placed.sent
    wait_until(lambda: placed.unaccounted(redis) == 0, timeout=WAIT_SECONDS)
    listed = read_customers(client)
    assert len(listed) == min(CUSTOMERS, placed.sent.total())
    assert workers_on_nodes(placed) > 0


def read_customers(client: httpx2.Client) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while not rows or cursor:
        answer = client.get(f"/api/v1/customers?sort=email&limit=30{cursor}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows += page["customers"]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    return rows


def workers_on_nodes(placed: Placed) -> int:
    """The number of our connections that lead to nodes rather than the coordinator."""
    name = psycopg.conninfo.conninfo_to_dict(placed.settings.database_url or "")["dbname"]
    found = 0
    for cell in placed.settings.all_cells:
        with connect(cell) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'windback'"
            found += only_row(connection.execute(query, [name]))[0] - 1
    return found
