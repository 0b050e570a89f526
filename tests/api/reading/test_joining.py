"""One statement over the cells of a database: its rows are those of each cell, merged, and of whole cells alone."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from api.reading.analytics import BY_NAME
from api.reading.customer_filter import ORDERS, CustomerFilter, list_query, order_of
from api.reading.merging import Row, add_up, put_in_order
from api.reading.sources import Source
from tests.cells.conftest import MakeWorld, World, make_world
from tests.cells.test_line import history
from tests.waiting import wait_until
from workers.risk.rollups import EVER
from workers.store import connect, only_row, sql

__all__ = ["make_world"]  # a fixture

LIMIT = 5
ALL_TIME = {"account_id": 1, "since": EVER[0], "until": EVER[1], "limit": 100}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Three cells with customers, a third of them without revenue, and of another third it is 0."""
    world = make_world(3)
    world.track(*history())
    world.work()
    for cell in world.settings.all_cells:
        with connect(cell) as connection:
            connection.execute("UPDATE customers SET mrr = 0 WHERE hashtext(email) % 3 = 0")
            connection.execute("UPDATE customers SET mrr = NULL WHERE abs(hashtext(email) % 3) = 1")
    return world


def find_source(world: World) -> Source:
    """The source of all its cells."""
    app: Any = world.client.app
    (source,) = app.state.sources.of_cells
    assert isinstance(source, Source)
    return source


def call(world: World, work: Callable[[], Any]) -> Any:
    """What an asynchronous function returns in the web process."""
    assert world.client.portal
    return world.client.portal.call(work)


def read_each(world: World, query: str, parameters: Mapping[str, Any]) -> list[list[Row]]:
    """The rows of each cell, asked by itself."""
    rows = []
    for cell in world.settings.all_cells:
        with connect(cell) as connection:
            rows.append(connection.cursor(row_factory=dict_row).execute(query.encode(), parameters).fetchall())
    assert all(rows)
    return rows


def test_a_list_holds_the_first_rows_of_all_cells(world: World) -> None:
    for sort in ORDERS:
        query, parameters = list_query(1, CustomerFilter(sort), limit=LIMIT)
        order = order_of(sort)
        merged = call(world, partial(find_source(world).read_merged, query, parameters, order))
        each = read_each(world, query, parameters)
        assert merged == put_in_order(each, order.keys, LIMIT, descending=order.descending), sort


def test_sums_are_those_of_all_cells(world: World) -> None:
    query = sql("count_account_events")
    merged = call(world, partial(find_source(world).read_merged, query, ALL_TIME, BY_NAME))
    each = read_each(world, query, ALL_TIME)
    assert merged == add_up(each, ("event",), first_seen=min, last_seen=max)
    assert len({row["first_seen"] for rows in each for row in rows}) > len(merged)


def test_rows_are_those_of_their_cell(world: World) -> None:
    query, parameters = list_query(1, CustomerFilter("email"), limit=LIMIT)
    assert call(world, partial(find_source(world).read, query, parameters)) == read_each(world, query, parameters)


def test_numbers_are_read_in_the_snapshot_of_the_rows(world: World) -> None:
    """A cell is divided while a list of it waits."""
    cell = world.settings.all_cells[1]
    assert world.client.get("/api/v1/customers").status_code == 200
    with ThreadPoolExecutor(1) as thread, connect(cell) as connection, connect(world.settings.home) as home:
        with connection.transaction():
            connection.execute("LOCK customers IN ACCESS EXCLUSIVE MODE")
            listing = thread.submit(world.client.get, "/api/v1/customers")
            wait_until(lambda: is_waited_for(home))
            connection.execute("DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM customers LIMIT 3)")
            connection.execute("UPDATE installation SET cells = 6")
        assert listing.result().status_code == 503


def is_waited_for(connection: psycopg.Connection[Any]) -> bool:
    """Whether a session waits for a lock."""
    return bool(only_row(connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted"))[0])
