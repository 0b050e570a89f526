"""Cells that Citus has placed: it moves them itself, while everything runs, and the processes follow."""

from psycopg.conninfo import conninfo_to_dict

from workers.cells import Cell
from workers.store import connect_as_set, nodes, sql

POSTGRES_PORT = 5432


def is_placed(cell: Cell) -> bool:
    """Returns True if Citus has placed the cell. Raises psycopg.OperationalError."""
    with connect_as_set(cell) as connection:
        return nodes.is_placing(connection) and nodes.find_node(connection, cell.schema or "") is not None


def move(cell: Cell, database_url: str) -> None:
    """Have Citus move the cell to the node of this URL. Raises psycopg.Error: then the cell is where it was."""
    there = conninfo_to_dict(database_url)
    target = {"host": there.get("host"), "port": int(there.get("port") or POSTGRES_PORT), "schema": cell.schema}
    with connect_as_set(cell) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("SET lock_timeout = 0")
        connection.execute(sql("move_schema"), target)
