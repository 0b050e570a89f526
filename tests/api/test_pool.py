"""The pools of the web process: a request finds the node that holds a cell at once, and no dead connection."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg_pool.base import AttemptWithBackoff

from api import pool
from api.connections import PooledConnection
from api.dashboard import export
from api.reading.sources import Source
from tests.catalogues import Cluster
from tests.catalogues import cluster as cluster
from tests.catalogues import second_server as second_server
from workers.cells import Cell
from workers.store import connect
from workers.store.nodes import last_nodes


async def read_nodes(connections: pool.Pool, number: int) -> list[int]:
    """The nodes that so many connections lead to, which are used at once."""
    async with AsyncExitStack() as stack:
        used = [await stack.enter_async_context(connections.connection()) for _ in range(number)]
        rows = [await (await each.execute("SELECT groupid FROM pg_dist_local_group")).fetchone() for each in used]
    return [row[0] for row in rows if row]


async def pooled_nodes(cluster: Cluster, size: int) -> list[int]:
    nodes: list[int] = []
    async with pool.Pool(cluster.cell, size) as connections:
        for group in (0, 1, 0):
            cluster.move(group)
            nodes += await read_nodes(connections, size)
    return nodes


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets a connection who has to wait until another attempt is made."""
    monkeypatch.setattr(pool, "POOL_WAIT_SECONDS", 30.0)
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 60.0)


@pytest.mark.parametrize("size", [1, 4])
def test_all_connections_of_a_pool_follow_the_cell(cluster: Cluster, no_pauses: None, size: int) -> None:
    assert asyncio.run(pooled_nodes(cluster, size)) == [0] * size + [1] * size + [0] * size


async def follow_during_the_set_up(cluster: Cluster) -> list[int]:
    """The cell moves after a connection to its node was opened, before the connection is used."""
    async with pool.Pool(cluster.cell, 1) as connections:
        set_up, options = connections._set_up, connections.kwargs
        assert isinstance(options, dict)

        async def move(connection: PooledConnection) -> None:
            await set_up(connection)
            options["set_up"] = set_up
            cluster.move(1)

        options["set_up"] = move
        return await read_nodes(connections, 1)


def test_a_pool_follows_a_cell_that_moves_meanwhile(cluster: Cluster, no_pauses: None) -> None:
    assert asyncio.run(follow_during_the_set_up(cluster)) == [1]


async def follow_after_the_last_node_is_gone(cluster: Cluster) -> list[int]:
    last_nodes[cluster.cell] = "postgresql://127.0.0.1:1/windback"
    async with pool.Pool(cluster.cell, 1) as connections:
        return await read_nodes(connections, 1)


def test_a_pool_asks_the_coordinator_where_the_last_node_is_gone(cluster: Cluster, no_pauses: None) -> None:
    cluster.move(1)
    assert asyncio.run(follow_after_the_last_node_is_gone(cluster)) == [1]
    assert "127.0.0.1:1/" not in last_nodes[cluster.cell]


async def read_while_connections_end(cluster: Cluster) -> list[int]:
    """The pool's sessions are ended, as by a restart, while they are idle."""
    async with pool.Pool(cluster.cell, 3) as connections:
        await read_nodes(connections, 3)
        end_sessions(cluster)
        return await read_nodes(connections, 3)


def test_ended_connections_of_a_pool_are_replaced_at_once(cluster: Cluster, no_pauses: None) -> None:
    assert asyncio.run(read_while_connections_end(cluster)) == [0, 0, 0]


async def read_beside(cluster: Cluster, query: str, disturb: Callable[[], None]) -> list[dict[str, Any]]:
    """The rows of a query of the cell, which is disturbed after the connection for it was looked at."""
    apart, joint = pool.Pool(cluster.cell, 2), pool.Pool(Cell(cluster.urls[0], ""), cells=1)
    async with apart, joint:
        look_at = apart._look_at

        async def look_and_disturb(connection: PooledConnection) -> None:
            await look_at(connection)
            apart._look_at = look_at  # type: ignore[method-assign]
            disturb()

        apart._look_at = look_and_disturb  # type: ignore[method-assign]
        (rows,) = await Source(joint, [cluster.cell], [apart]).read(query, {})
    return rows


def end_sessions(cluster: Cluster) -> None:
    for url in cluster.urls:
        with connect(url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def drop_and_move(cluster: Cluster) -> None:
    with connect(cluster.urls[0]) as connection:
        connection.execute("DROP TABLE cell_001.events")
    cluster.move(1)


def drop_the_numbers(cluster: Cluster) -> None:
    """Take the tables from the old node, before a session there has heard of the move."""
    with connect(cluster.urls[0]) as connection:
        connection.execute("DROP TABLE cell_001.installation")
    cluster.move(1)


@pytest.mark.parametrize("disturb", [end_sessions, drop_and_move, drop_the_numbers])
def test_a_query_that_the_move_disturbs_is_put_once_more(
    cluster: Cluster, no_pauses: None, disturb: Callable[[Cluster], None]
) -> None:
    query = "SELECT count(*) AS n FROM events"
    assert asyncio.run(read_beside(cluster, query, partial(disturb, cluster))) == [{"n": 0}]


def test_a_change_is_not_put_once_more(cluster: Cluster, no_pauses: None) -> None:
    """It may have been carried out."""
    with pytest.raises(psycopg.OperationalError):
        asyncio.run(read_beside(cluster, "UPDATE events SET n = 1", partial(end_sessions, cluster)))


def test_an_export_is_whole_though_the_cell_moves_meanwhile(cluster: Cluster) -> None:
    names = ("email", "name", "company", "mrr", "currency", "mrr_at_risk", "plan", "state", "level", "risk_before")
    others = ("reasons", "why", "advice_urgency", "last_event", "first_seen", *export.COLUMNS)
    nothing = ", ".join(f'NULL AS "{name}"' for name in {*names, *others} - {"n"})
    query: Any = f"SELECT n AS customer_id, {nothing} FROM generate_series(1, {2 * export.ROWS}) AS n"
    pieces = export.write_lines([cluster.cell], query, {}, export.ExportOrder("customer_id", descending=False))
    text = next(pieces)
    cluster.move(1)
    assert b"".join([text, *pieces]).count(b"\n") == 1 + 2 * export.ROWS
