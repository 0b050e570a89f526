"""Cells that Citus has placed: it moves them itself, while everything runs, and the processes follow."""

from typing import Any

from psycopg.conninfo import conninfo_to_dict

from workers.cells import Cell
from workers.placement import Misplaced
from workers.store import Connection, connect_as_set, nodes, sql
from workers.store.nodes import Node

POSTGRES_PORT = 5432


def is_placed(cell: Cell) -> bool:
    """Returns True if Citus has placed the cell. Raises psycopg.OperationalError."""
    with connect_as_set(cell) as connection:
        return _find_node(connection, cell) is not None


def move(cell: Cell, database_url: str) -> None:
    """Have Citus move the cell to the node of this URL. Raises Misplaced, psycopg.Error: then the cell is where it
    was."""
    there = conninfo_to_dict(database_url)
    target = str(there.get("host")), int(there.get("port") or POSTGRES_PORT)
    with connect_as_set(cell) as connection:
        _check_target(connection, cell, *target)
        _move(connection, "move_schema", cell, *target)


def place_beside(cell: Cell, other: Cell) -> None:
    """Have Citus place another cell, still unused, on the node that holds this one. Nothing is done where
    Citus has not placed this one. Raises psycopg.Error: then it may be done again."""
    with connect_as_set(cell) as connection:
        if not (node := _find_node(connection, cell)):
            return
        _wait_for_ever(connection)
        connection.execute(sql("place_schema"), {"schema": other.schema})
        if nodes.find_node(connection, other.schema or "") != node:
            _move(connection, "move_unused_schema", other, node.host, node.port)


def _find_node(connection: Connection, cell: Cell) -> Node | None:
    return nodes.find_node(connection, cell.schema or "") if nodes.is_placing(connection) else None


def _check_target(connection: Connection, cell: Cell, host: str, port: int) -> None:
    listed = [(name, number) for name, number in connection.execute(sql("list_nodes")).fetchall()]
    if (host, port) not in listed:
        names = ", ".join(f"{name}:{number}" for name, number in listed)
        raise Misplaced(
            f"Citus has placed cell {cell.name}, and moves it to its own nodes alone: {names};"
            f" {host}:{port} is none of them"
        )
    here = _find_node(connection, cell)
    if here and (here.host, here.port) == (host, port):
        raise Misplaced(f"cell {cell.name} is there already")


def _move(connection: Connection, query: str, cell: Cell, host: str, port: int) -> None:
    _wait_for_ever(connection)
    target: dict[str, Any] = {"host": host, "port": port, "schema": cell.schema}
    connection.execute(sql(query), target)


def _wait_for_ever(connection: Connection) -> None:
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET lock_timeout = 0")
