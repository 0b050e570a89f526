"""Working on a cell's tables. Each session that does holds a lock together with others until it ends; a command that
divides or moves the cell has that lock alone. It ends the sessions that hold it: their work is rolled back and
tried again, and finds the cell taken until the command has ended.

Tables know which of how many cells they are, so that no session works on them that takes them for other ones. A single
cell's are at home, which knows if they have become cells; pages hold a lock of their own there, since they may read
them until the moment at which they go.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
from psycopg.errors import UndefinedTable
from psycopg.pq import TransactionStatus

from workers.cells import Cell
from workers.logs import first_line
from workers.store import Connection, connect, nodes, only_row, sql

SEIZE_SECONDS = 60.0
NO_TABLES = (False, None, None)

Work = Literal["cell", "pages"]  # what sessions do that share a lock: all, or reading a single cell


class CellTaken(psycopg.OperationalError):
    """The cell is being divided or moved, or was. Events wait in its buffer."""


def describe_fault(error: psycopg.Error) -> str:
    """Returns why a cell can't be worked with, in words."""
    return first_line(error) if isinstance(error, CellTaken) else f"its Postgres doesn't answer: {first_line(error)}"


def enter(cell: Cell) -> Connection:
    """Returns a connection to a cell, to work on its tables. Raises CellTaken, psycopg.OperationalError."""
    return _enter(cell, "cell")


def look(cell: Cell) -> Connection:
    """Returns a connection to read a cell's tables, which `confirm` looks at afterwards. Raises CellTaken,
    psycopg.OperationalError."""
    return _enter(cell, "pages") if cell.is_single else connect(cell)


def _enter(cell: Cell, work: Work) -> Connection:
    connection = connect(cell)
    try:
        if cell.number is not None or cell.is_single:
            check_entry(cell, *only_row(connection.execute(*entry_query(cell, work))))
        if cell.number is not None:
            check(connection, cell)
        elif cell.is_single:
            _check_home(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def entry_query(cell: Cell, work: Work) -> tuple[Any, dict[str, str | None]]:
    """Returns the statement whose row `check_entry` takes, and its parameters. The session then holds the lock."""
    return sql("enter_cell"), {"schema": cell.schema, "work": work}


def check_entry(cell: Cell, entered: bool) -> None:
    """Raises CellTaken if a command has the cell alone."""
    if not entered:
        whose = "the single cell" if cell.is_single else f"cell {cell.name}"
        raise CellTaken(f"{whose} is being divided or moved; what comes meanwhile waits in its buffer")


def check_single(cells: int) -> None:
    """Raises CellTaken if customers are in cells of their own."""
    if cells:
        raise CellTaken(f"this installation has {cells} cells, and WINDBACK_CELLS is 1; set it to {cells}")


def _check_home(connection: Connection) -> None:
    try:
        check_single(*only_row(connection.execute(sql("count_cells"))))
    except UndefinedTable:  # there are no tables yet
        return


@contextmanager
def reading(cell: Cell) -> Iterator[Connection]:
    """Yields a connection to read a cell's tables. Raises CellTaken at the end if the cell was divided or moved
    meanwhile: the rows may be a part. Raises psycopg.OperationalError."""
    with look(cell) as connection:
        try:
            yield connection
        except UndefinedTable:
            confirm(connection, cell)
            nodes.confirm(connection)
            raise
        confirm(connection, cell)


def confirm(connection: Connection, cell: Cell) -> None:
    """Raises CellTaken if a query before this one, or the snapshot of an open cursor, may have read a part of the cell,
    or another one's tables."""
    if cell.number is not None:
        check(connection, cell)


def check(connection: Connection, cell: Cell) -> None:
    """Raises CellTaken unless a connection leads to the tables of the cell; Moved if they have just left this node."""
    try:
        row = only_row(connection.execute(*numbers_query(cell)))
    except UndefinedTable:
        row = NO_TABLES
    try:
        check_numbers(cell, *row)
    except CellTaken:
        if connection.info.transaction_status != TransactionStatus.INERROR:
            nodes.confirm(connection)
        raise


def numbers_query(cell: Cell) -> tuple[Any, dict[str, str | None]]:
    """Returns the statement whose row `check_numbers` takes, and its parameters. Where home is in another database and
    the cell's schema is gone, it raises UndefinedTable: then the row is NO_TABLES."""
    return sql("find_numbers"), {"schema": cell.schema}


def check_numbers(cell: Cell, is_there: bool, *numbers: int | None) -> None:
    """Raises CellTaken unless these are the tables of the cell: `numbers` says which of how many they are."""
    if not is_there:
        raise CellTaken(
            f"there is no schema {cell.schema}: cell {cell.name} was moved; set WINDBACK_CELL_DATABASE_URLS as"
            " `windback cells move` said"
        )
    if numbers == (None, None):
        raise CellTaken(f"the tables in {cell.schema} are not those of a cell yet; run `windback migrate`")
    if numbers != (cell.number, cell.cells):
        raise CellTaken(
            f"the tables in {cell.schema} are those of cell {numbers[0]:03} of {numbers[1]}, and WINDBACK_CELLS is"
            f" {cell.cells}; if `windback cells split` was interrupted, run it again"
        )


def seize(connection: Connection, schema: str, work: Work = "cell") -> None:
    """Have a cell's tables alone, until the connection ends. Raises CellTaken if another command has them."""
    whose, give_up = {"schema": schema, "work": work}, time.monotonic() + SEIZE_SECONDS
    while not only_row(connection.execute(sql("have_cell_alone"), whose))[0]:
        if time.monotonic() > give_up:
            raise CellTaken(f"sessions that work on {schema} could not be ended; see pg_locks")
        connection.execute(sql("end_sessions_of_cell"), whose)
        time.sleep(0.01)
