"""Schemas that Citus has placed on nodes of its cluster.

Statements about such a schema run on any node, which hands them on. But totals rest on the numbers of the transactions
of the server that stores an event, so a cell's connections lead to the node that holds the cell. Citus may move it at
any time: a transaction that ends on a node which the cell has left is rolled back, and the next connection leads to the
new node. Where there is no Citus, none of this costs a statement.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from workers.cells import Cell
from workers.store.statements import only_row, sql

MOST_HOPS = 5  # from node to node, while Citus moves a cell

last_nodes: dict[Cell, str] = {}  # what led to the nodes where cells were found that Citus has placed


class Moved(psycopg.OperationalError):
    """Citus has moved the cell to another node. Nothing was stored; the next connection leads to that node."""

    def __init__(self, schema: str) -> None:
        super().__init__(f"Citus has moved {schema} to another node; the next connection leads there")


class Node(NamedTuple):
    """A node that holds a schema, by the name that the cluster has for it; `is_here`: the session leads to it."""

    host: str
    port: int
    is_here: bool

    def lead(self, database_url: str) -> str:
        """Returns what connects to this node as the URL does to its server."""
        parameters = conninfo_to_dict(database_url)
        parameters.pop("hostaddr", None)
        return make_conninfo("", **{**parameters, "host": self.host, "port": self.port})


class CellConnection(psycopg.Connection[TupleRow]):
    """A connection to a cell. `placed` is its schema if Citus is there, and may place it: then outermost transactions
    raise Moved when they end on a node that the cell has left."""

    placed: str | None = None

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """A transaction, or a savepoint within one. Raises Moved."""
        is_outermost = self.pgconn.transaction_status == TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as transaction:
            yield transaction
            if self.placed and is_outermost:
                check_node(self, self.placed)


def find_node(connection: psycopg.Connection[Any], schema: str) -> Node | None:
    """Returns the node that holds a schema; None if Citus has not placed it."""
    row = connection.execute(*node_query(schema)).fetchone()
    return Node(*row) if row else None


def is_placing(connection: psycopg.Connection[Any]) -> bool:
    """Returns True if Citus is there, and may have placed schemas."""
    return bool(only_row(connection.execute(sql("is_placing")))[0])


def node_query(schema: str) -> tuple[Any, dict[str, str]]:
    """Returns the statement whose row, if any, is the Node that holds a schema, and its parameters."""
    return sql("find_node"), {"schema": schema}


def check_node(connection: psycopg.Connection[Any], schema: str) -> None:
    """Raises Moved if another node holds the schema."""
    node = find_node(connection, schema)
    if node and not node.is_here:
        raise Moved(schema)


def confirm(connection: psycopg.Connection[Any]) -> None:
    """Raises Moved if a connection leads to a node that its cell has left."""
    if isinstance(connection, CellConnection) and connection.placed:
        check_node(connection, connection.placed)
