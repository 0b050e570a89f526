"""Postgres: connections, and the named queries of queries/*.sql.

Locks are taken in one order, so that nobody waits in a circle: the advisory one of erasures, then that of pruning;
then rows of event_ids, new customers, events, customer_days, rebuilds, customers, landed, and of each of them by its
key. Work that can't keep to it (scores, rebuilds, pruning) takes free rows, and leaves the rest for the next time.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow

from workers.cells import Cell
from workers.store import nodes, sessions
from workers.store import parameters as parameters
from workers.store.nodes import MOST_HOPS, CellConnection, Node, last_nodes
from workers.store.statements import QueryMissing as QueryMissing
from workers.store.statements import RowMissing as RowMissing
from workers.store.statements import only_row as only_row
from workers.store.statements import sql as sql

Connection = psycopg.Connection[TupleRow]

_cells: WeakKeyDictionary[Connection, Cell] = WeakKeyDictionary()  # to which connections lead


def connect(place: Cell | str, **settings: str) -> Connection:
    """Returns a connection in autocommit: statements that belong together stand in `with connection.transaction()`. It
    leads to the tables of a cell, on the node that holds them if Citus has placed them, or of the schema that a URL
    leads to. `settings` take the place of sessions.PREFERRED.

    Raises psycopg.OperationalError if Postgres can't be reached, TransactionPooling among them.
    """
    if isinstance(place, str):
        return _open(place, None, settings)[0]
    with naming(place):
        connection = _connect_to_node(place, settings)
    _cells[connection] = place
    return connection


@contextmanager
def naming(place: Cell) -> Iterator[None]:
    """Have an error that a cell can't be reached say which one, for `find_absent_cell`."""
    try:
        yield
    except psycopg.OperationalError as error:
        if place.number is not None:
            error.add_note(place.name)
        raise


def find_absent_cell(error: psycopg.Error) -> str | None:
    """Returns the name of the cell that could not be reached; None for home, and where there is a single cell."""
    return next(iter(getattr(error, "__notes__", ())), None)


def connect_as_set(place: Cell | str) -> Connection:
    """As `connect`, but to the server that the settings name, and not to the node that holds a placed cell: for changes
    of the schema, which Citus takes on its coordinator only."""
    database_url, schema = (place, None) if isinstance(place, str) else (place.database_url, place.schema)
    return _open(database_url, schema, {})[0]


def find_cell(connection: Connection) -> Cell | None:
    """Returns the cell that a connection leads to; None if it was opened with a mere URL."""
    return _cells.get(connection)


def _connect_to_node(cell: Cell, settings: dict[str, str]) -> CellConnection:
    """A connection to the node that holds a cell, as its catalogue says; first to the one that held it before, so that
    the coordinator is not needed for it."""
    if last := last_nodes.get(cell):
        with suppress(psycopg.OperationalError):
            return _follow(cell, last, settings)
        last_nodes.pop(cell, None)
    return _follow(cell, cell.database_url, settings)


def _follow(cell: Cell, url: str, settings: dict[str, str]) -> CellConnection:
    for _ in range(MOST_HOPS):
        connection, is_placing = _open(url, cell.schema, settings)
        node = _find_node(connection, cell) if is_placing else None
        if node is None or node.is_here:
            if is_placing:
                connection.placed = cell.schema
            if node:
                last_nodes[cell] = url
            return connection
        connection.close()
        url = node.lead(cell.database_url)
    raise nodes.Moved(cell.schema or "")


def _find_node(connection: CellConnection, cell: Cell) -> Node | None:
    try:
        return nodes.find_node(connection, cell.schema or "")
    except BaseException:
        connection.close()
        raise


def _open(database_url: str, schema: str | None, settings: dict[str, str]) -> tuple[CellConnection, bool]:
    """A connection that is set up, and whether Citus may have placed the schema."""
    connection = CellConnection.connect(database_url, autocommit=True, **sessions.client_options(database_url))
    try:
        backend, _ = only_row(connection.execute(*sessions.settings_query(settings)))
        if backend != connection.info.backend_pid:
            sessions.refuse_transaction_pooling(database_url)
        is_placing = bool(schema and only_row(connection.execute(*sessions.path_query(schema)))[1])
        return connection, is_placing
    except BaseException:
        connection.close()
        raise
