"""The single cell leaves home: its tables become those of the first of two cells, and home keeps what belongs to
accounts. Its customers' tables change places with empty ones, so no row is copied for it.

All of this is part of the transaction of `windback cells split`, see workers/growth.py.
"""

from collections.abc import Sequence

from psycopg import sql as pieces

from workers.cells import Cell
from workers.store import Connection, only_row, presence, schemas, sql
from workers.store.home import EVERYWHERE, HOME

ASIDE = "staged_home"  # a schema through which tables change places
COPIED = ("accounts", "models", "outages", "webhooks", "draft_templates")  # a cell has these of home, see mirror.py


def list_customer_tables(connection: Connection, staged: str) -> list[str]:
    """Returns the tables that leave home. `staged`: a schema with the same tables, which are empty."""
    return schemas.list_tables(connection, staged, HOME | EVERYWHERE)


def move_out(connection: Connection, home: str, staged: str) -> None:
    """Have the tables of customers change places with those of another schema, which are empty, in the caller's
    transaction. Sessions that read them for pages are ended, and others are waited for. Raises CellTaken."""
    presence.seize(connection, home, "pages")
    connection.execute("SET LOCAL lock_timeout = 0")
    connection.execute(pieces.SQL("CREATE SCHEMA {}").format(pieces.Identifier(ASIDE)))
    for table in list_customer_tables(connection, staged):
        for source, target in ((staged, ASIDE), (home, staged), (ASIDE, home)):
            schemas.move_table(connection, source, table, target)
    connection.execute(pieces.SQL("DROP SCHEMA {}").format(pieces.Identifier(ASIDE)))
    for table in COPIED:
        _copy(connection, table, home, staged)
    _copy(connection, "renewals", staged, home)  # home switches by itself to a model that a cell is about to use
    schemas.lead_to(connection, staged)
    connection.execute("DELETE FROM landed")  # the entries of another buffer


def note_cells(connection: Connection, home: str, cells: Sequence[Cell]) -> None:
    """Note at home which cells there are, in the caller's transaction."""
    for cell in cells:
        schemas.lead_to(connection, cell.schema or "")
        (installation_id,) = only_row(connection.execute(sql("find_installation")))
        schemas.lead_to(connection, home)
        connection.execute(sql("note_single"))
        connection.execute(sql("note_cell"), {"number": cell.number, "installation_id": installation_id})


def _copy(connection: Connection, table: str, source: str, target: str) -> None:
    columns = schemas.quote_columns(connection, target, table)
    statement = pieces.SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    names = pieces.Identifier(target, table), columns, columns, pieces.Identifier(source, table)
    connection.execute(statement.format(*names))
