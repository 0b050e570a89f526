"""The tables of a schema, for commands that copy, move or divide a cell."""

from collections.abc import Iterable

from psycopg import sql as pieces

from workers.store import Connection, only_row, sql


def find_own(connection: Connection) -> str:
    """Returns the schema that a connection leads to."""
    return str(only_row(connection.execute("SELECT current_schema()"))[0])


def list_tables(connection: Connection, schema: str, without: Iterable[str] = ()) -> list[str]:
    """Returns the tables of a schema."""
    rows = connection.execute(sql("list_cell_tables"), {"schema": schema, "without": list(without)})
    return [table for (table,) in rows.fetchall()]


def list_columns(connection: Connection, schema: str, table: str) -> list[str]:
    """Returns the columns of a table that can be copied: Postgres computes the others."""
    parameters = {"schema": schema, "table": table}
    return [name for (name,) in connection.execute(sql("list_copied_columns"), parameters)]


def quote_columns(connection: Connection, schema: str, table: str) -> pieces.Composed:
    """Returns the columns that can be copied, for a statement."""
    return pieces.SQL(", ").join(map(pieces.Identifier, list_columns(connection, schema, table)))


def lead_to(connection: Connection, schema: str) -> None:
    """Have the names of tables mean those of a schema, until the transaction ends."""
    connection.execute(pieces.SQL("SET LOCAL search_path TO {}").format(pieces.Identifier(schema)))


def rename(connection: Connection, schema: str, name: str) -> None:
    """Give a schema another name."""
    connection.execute(pieces.SQL("ALTER SCHEMA {} RENAME TO {}").format(*map(pieces.Identifier, (schema, name))))


def lock_tables(connection: Connection, schema: str, tables: Iterable[str]) -> None:
    """Lock these tables against writes until the transaction ends. They can still be read."""
    names = [pieces.Identifier(schema, table) for table in tables]
    connection.execute(pieces.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(pieces.SQL(", ").join(names)))


def move_table(connection: Connection, schema: str, table: str, target: str) -> None:
    """Move a table, with its partitions, to another schema."""
    rows = connection.execute(sql("list_partitions"), {"schema": schema, "table": table}).fetchall()
    for name in [table, *(partition for (partition,) in rows)]:
        statement = pieces.SQL("ALTER TABLE {} SET SCHEMA {}")
        connection.execute(statement.format(pieces.Identifier(schema, name), pieces.Identifier(target)))
