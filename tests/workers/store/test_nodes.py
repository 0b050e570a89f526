"""Connections to a cell lead to the node that holds it. The catalogue of Citus is imitated on two servers."""

from collections.abc import Callable

import pytest

from tests.catalogues import Cluster, node_of
from tests.catalogues import cluster as cluster
from tests.catalogues import second_server as second_server
from workers import citus
from workers.placement import Misplaced
from workers.process import Process
from workers.store import Connection, connect, connect_as_set, find_cell, only_row, presence, sql
from workers.store.nodes import Moved
from workers.store.presence import CellTaken
from workers.upkeep import erasure


def test_citus_is_asked_to_move_a_cell(cluster: Cluster) -> None:
    with connect(cluster.urls[0]) as connection:
        connection.execute(
            """CREATE FUNCTION citus_schema_move(schema regnamespace, host text, port integer, mode text)
            RETURNS void LANGUAGE sql AS $$
                UPDATE pg_dist_placement SET groupid = (
                    SELECT groupid FROM pg_dist_node
                    WHERE nodename = host AND nodeport = port AND schema = 'cell_001'::regnamespace
                )
            $$"""
        )
    assert citus.is_placed(cluster.cell)
    citus.move(cluster.cell, cluster.urls[1])
    with connect(cluster.urls[0]) as connection:
        assert only_row(connection.execute("SELECT groupid FROM pg_dist_placement")) == (1,)


@pytest.mark.parametrize(
    ("group", "refusal"),
    [(None, "moves it to its own nodes alone: .*, .*; elsewhere:5433 is none of them"), (0, "there already")],
)
def test_citus_is_asked_for_its_own_nodes_alone(cluster: Cluster, group: int | None, refusal: str) -> None:
    there = "postgresql://elsewhere:5433/windback" if group is None else cluster.urls[group]
    with pytest.raises(Misplaced, match=refusal):
        citus.move(cluster.cell, there)


def test_what_citus_has_not_placed_is_copied(cluster: Cluster, database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("DELETE FROM pg_dist_schema")
    assert not citus.is_placed(cluster.cell)


def test_a_connection_leads_to_the_node_that_holds_the_cell(cluster: Cluster) -> None:
    for group in (0, 1, 0):
        cluster.move(group)
        with connect(cluster.cell) as connection:
            assert node_of(connection) == group
            assert find_cell(connection) == cluster.cell
            assert only_row(connection.execute("SELECT count(*) FROM events")) == (0,)


def test_a_change_of_the_schema_goes_where_the_settings_say(cluster: Cluster) -> None:
    cluster.move(1)
    with connect_as_set(cluster.cell) as connection:
        assert node_of(connection) == 0


def store(connection: Connection) -> None:
    erasure.join_storing(connection)


def score(connection: Connection) -> None:
    connection.execute(sql("begin_scoring"), {"timeout": "20s"})


def plan_mode(connection: Connection, begin: Callable[[Connection], None]) -> str:
    with connection.transaction():
        begin(connection)
        return str(only_row(connection.execute("SHOW plan_cache_mode"))[0])


@pytest.mark.parametrize("begin", [store, score])
def test_plans_hold_for_all_batches_unless_citus_carries_them_out(
    cluster: Cluster, connection: Connection, begin: Callable[[Connection], None]
) -> None:
    """It needs the values of some statements to plan them."""
    assert plan_mode(connection, begin) == "auto"
    with connect(cluster.cell) as cell:
        assert plan_mode(cell, begin) == "auto"
    connection.execute("DROP TABLE pg_dist_schema")
    assert plan_mode(connection, begin) == "force_generic_plan"


def insert_and_move(connection: Connection, cluster: Cluster) -> None:
    with connection.transaction():
        connection.execute("INSERT INTO events VALUES (1)")
        cluster.move(1)


def test_a_transaction_that_ends_where_the_cell_is_no_more_is_rolled_back(cluster: Cluster) -> None:
    with connect(cluster.cell) as connection:
        with pytest.raises(Moved):
            insert_and_move(connection, cluster)
        assert only_row(connection.execute("SELECT count(*) FROM events")) == (0,)
    with connect(cluster.cell) as connection:
        with connection.transaction(), connection.transaction():
            connection.execute("INSERT INTO events VALUES (1)")
        assert (node_of(connection), only_row(connection.execute("SELECT count(*) FROM events"))) == (1, (1,))


def test_a_savepoint_does_not_ask(cluster: Cluster) -> None:
    with connect(cluster.cell) as connection, connection.transaction():
        with connection.transaction():
            cluster.move(1)
        cluster.move(0)


def test_without_the_coordinator_the_last_node_is_found(cluster: Cluster) -> None:
    cluster.move(1)
    connect(cluster.cell).close()
    with connect(cluster.urls[0]) as connection:
        connection.execute("ALTER TABLE pg_dist_node RENAME TO nowhere")
    with connect(cluster.cell) as connection:
        assert node_of(connection) == 1


def test_a_worker_goes_on_where_the_cell_is(cluster: Cluster, process: Process) -> None:
    process.settings = process.settings.changed(database_url=cluster.urls[0], cells=2)
    there = process.at(1)
    assert node_of(there.connection()) == 0
    cluster.move(1)
    with pytest.raises(Moved), there.connection().transaction():
        pass
    there.disconnect()
    assert node_of(there.connection()) == 1
    there.disconnect()


def test_a_schema_that_is_not_placed_is_where_the_settings_say(cluster: Cluster) -> None:
    for url in cluster.urls:
        with connect(url) as connection:
            connection.execute("DELETE FROM pg_dist_schema")
    with connect(cluster.cell) as connection:
        assert node_of(connection) == 0
        with connection.transaction():
            cluster.move(1)


def test_tables_that_have_just_left_the_node_are_not_taken_for_a_divided_cell(cluster: Cluster) -> None:
    with connect(cluster.cell) as connection:
        with connect(cluster.urls[0]) as other:
            other.execute("DROP TABLE cell_001.installation")
        with pytest.raises(CellTaken):
            presence.check(connection, cluster.cell)
        cluster.move(1)
        with pytest.raises(Moved):
            presence.check(connection, cluster.cell)
    with connect(cluster.cell) as connection:
        presence.check(connection, cluster.cell)


def test_a_cell_that_is_placed_after_the_connection_was_opened_is_followed(cluster: Cluster) -> None:
    with connect(cluster.urls[0]) as connection:
        connection.execute("DELETE FROM pg_dist_schema")
    with connect(cluster.cell) as cell:
        with cell.transaction():
            cell.execute("INSERT INTO events VALUES (1)")
        with connect(cluster.urls[0]) as connection:
            connection.execute("INSERT INTO pg_dist_schema VALUES (to_regnamespace('cell_001'), 7)")
        with pytest.raises(Moved):
            insert_and_move(cell, cluster)
        assert only_row(cell.execute("SELECT count(*) FROM events")) == (1,)
