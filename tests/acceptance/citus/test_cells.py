"""Four cells that Citus has placed on the nodes of its cluster: the whole line, while cells move, nodes go away and
come back.

CITUS_NODES names the workers that the coordinator of CITUS_URL shall use: `host:port`, with blanks between.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from redis import Redis

from tests.acceptance.citus import cluster
from tests.acceptance.citus.placed_line import CELL_ROUTES, CELLS, ROUTES, WAIT_SECONDS, Placed, repeating
from tests.acceptance.citus.servers import NodeServer
from tests.acceptance.line import PatientLine, line
from tests.waiting import wait_until
from workers import placement
from workers.accounts import keys
from workers.cells import Cell
from workers.settings import Settings
from workers.store import connect, only_row

pytestmark = [
    pytest.mark.skipif(
        not {"CITUS_URL", "CITUS_NODES"} <= os.environ.keys(),
        reason="CITUS_URL and CITUS_NODES name no cluster of Citus, and no registry has Citus to start",
    ),
    pytest.mark.timeout(1200),
]


@pytest.fixture
def placed(redis_url: str, nodes: list[tuple[str, int]], tmp_path: Path) -> Iterator[Placed]:
    """A line over four cells on the nodes, not started yet."""
    with ExitStack() as stack:
        url = stack.enter_context(cluster.make_cluster(os.environ["CITUS_URL"], nodes, f"cells_{os.getpid()}"))
        settings = Settings(database_url=url, redis_url=redis_url, data_dir=tmp_path, cells=CELLS)
        placement.migrate_all(settings)
        running = stack.enter_context(line(settings, tmp_path / "line.log", PatientLine))
        running.environment["WINDBACK_CELLS"] = str(CELLS)
        yield Placed(settings, nodes, running)


@pytest.fixture
def on_nodes(placed: Placed) -> Placed:
    """Its cells are on the nodes in turn."""
    cluster.place(
        placed.settings.database_url or "", [cell.schema or "" for cell in placed.settings.all_cells], placed.nodes
    )
    return placed


@pytest.fixture
def client(placed: Placed, redis: Redis) -> Iterator[httpx2.Client]:
    """A client with a secret key, of the line, which is started."""
    with connect(placed.settings.home) as home:
        key = keys.create(home, redis, "acme")
    placed.line.start()
    placed.line.start("ingest.2", "score.2")
    with httpx2.Client(base_url=placed.line.url, headers={"X-API-Key": key.secret}, timeout=60) as made:
        wait_until(lambda: made.post("/api/v1/track", json={"events": []}).status_code == 422, timeout=WAIT_SECONDS)
        wait_until(lambda: made.get("/readyz").status_code == 200, timeout=WAIT_SECONDS)
        yield made


class Reader:
    """Reads all there is, in turn: whatever isn't answered is a fault."""

    def __init__(self, placed: Placed, client: httpx2.Client) -> None:
        self._client, self.answers = client, 0
        emails = {placed.cell_of(email): email for email in sorted(placed.customers)}
        assert len(emails) == CELLS
        of_cells = [f"/api/v1/customers/{email}{ending}" for email in emails.values() for ending in CELL_ROUTES]
        self._routes = itertools.cycle([*ROUTES, *of_cells])

    def read(self) -> None:
        """Ask for the next."""
        route = next(self._routes)
        answer = self._client.get(route)
        assert answer.status_code == 200, (route, answer.text)
        if route == "/readyz":
            assert answer.json()["detail"]["postgres"] == "ok", answer.text
        self.answers += 1


def test_cells_are_moved_while_events_come_in_and_all_is_read(
    on_nodes: Placed, client: httpx2.Client, redis: Redis
) -> None:
    placed = on_nodes
    assert len({placed.node_of(number) for number in range(CELLS)}) == len(placed.nodes)
    while placed.sent.total() < 500:
        placed.send(client)
    wait_until(lambda: placed.stored() == placed.sent, timeout=WAIT_SECONDS)
    reader, other = Reader(placed, client), Reader(placed, client)
    send = [lambda: placed.send(client)] * 2
    with repeating(*send, reader.read, other.read) as check:
        for number, node in ((0, 1), (1, 0), (0, 0), (2, 1)):
            sent, answers = placed.sent.total(), reader.answers
            placed.move(number, node)
            assert placed.node_of(number) == placed.nodes[node][1]
            wait_until(lambda sent=sent: check() or placed.sent.total() > sent + 200, timeout=WAIT_SECONDS)  # type: ignore[misc]
            wait_until(lambda answers=answers: check() or reader.answers > answers + 20, timeout=WAIT_SECONDS)  # type: ignore[misc]
    placed.expect_all(client, redis)
    assert workers_on_nodes(placed) > 0


def test_cells_are_placed_while_events_come_in(placed: Placed, client: httpx2.Client, redis: Redis) -> None:
    """They were in the coordinator's database before. Citus locks a table after the other, so it may be the one that a
    deadlock ends, and is asked again."""
    with repeating(lambda: placed.send(client)) as check:
        wait_until(lambda: check() or placed.stored().total() > 200, timeout=WAIT_SECONDS)
        for cell in placed.settings.all_cells[:2]:
            wait_until(lambda cell=cell: is_placed(placed, cell), timeout=WAIT_SECONDS)  # type: ignore[misc]
            sent = placed.sent.total()
            wait_until(lambda sent=sent: check() or placed.sent.total() > sent + 200, timeout=WAIT_SECONDS)  # type: ignore[misc]
    placed.expect_all(client, redis)
    assert [placed.node_of(number) == placed.nodes[0][1] for number in range(CELLS)] == [True, True, False, False]


def test_a_node_goes_away_and_comes_back(on_nodes: Placed, client: httpx2.Client, redis: Redis) -> None:
    """Its cells alone can't be read meanwhile. Storing waits in all cells, since Citus sends the rows between the parts
    of a statement to all nodes; nothing is lost."""
    placed, away = on_nodes, 1
    while placed.sent.total() < 500:
        placed.send(client)
    placed.expect_all(client, redis)
    on_it = {number for number in range(CELLS) if placed.node_of(number) == placed.nodes[away][1]}
    assert on_it == {1, 3}
    emails = {placed.cell_of(email): email for email in sorted(placed.customers)}
    node = NodeServer(_at(placed, away))
    node.stop()
    try:
        for _ in range(20):
            placed.send(client)
        statuses = {number: client.get(f"/api/v1/customers/{email}").status_code for number, email in emails.items()}
        assert statuses == {0: 200, 1: 503, 2: 200, 3: 503}
        listed = client.get("/api/v1/customers")
        assert (listed.status_code, listed.json()["code"]) == (503, "store_unavailable")
        assert "cell 001" in listed.text or "cell 003" in listed.text
        ready = client.get("/readyz")
        assert ready.status_code == 200, ready.text
        faults = ready.json()["detail"]["postgres"]
        assert [f"cell {number:03}" in faults for number in range(CELLS)] == [False, True, False, True]
        metrics = client.get("/metrics")
        assert (metrics.status_code, "windback_buffer_events" in metrics.text) == (200, True)
    finally:
        node.start()
    wait_until(lambda: client.get("/api/v1/customers").status_code == 200, timeout=WAIT_SECONDS)
    placed.expect_all(client, redis)
    assert client.get("/readyz").json()["detail"]["postgres"] == "ok"


def is_placed(placed: Placed, cell: Cell) -> bool:
    """Returns True if Citus has placed the cell on the first node now."""
    try:
        cluster.place(placed.settings.database_url or "", [cell.schema or ""], placed.nodes)
    except psycopg.errors.DeadlockDetected:
        return False
    return True


def _at(placed: Placed, node: int) -> str:
    host, port = placed.nodes[node]
    parts = urlsplit(placed.settings.database_url or "")
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(netloc=f"{user}{host}:{port}").geturl()


def workers_on_nodes(placed: Placed) -> int:
    """The number of our connections that lead to nodes rather than the coordinator."""
    name = psycopg.conninfo.conninfo_to_dict(placed.settings.database_url or "")["dbname"]
    found = 0
    for cell in placed.settings.all_cells:
        with connect(cell) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'windback'"
            found += only_row(connection.execute(query, [name]))[0] - 1
    return found
