"""Postgres: connections, and the named queries of queries/*.sql.

Locks are taken in one order, so that nobody waits in a circle: the advisory one of erasures, then that of pruning;
then rows of event_ids, new customers, events, customer_days, rebuilds, customers, landed, and of each of them by its
key. What can't keep to it (scores, rebuilds, pruning) takes what nobody holds, and leaves the rest for the next time.
"""

from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow

from workers.cells import Cell
from workers.store import parameters as parameters
from workers.store import sessions
from workers.store.statements import QueryMissing as QueryMissing
from workers.store.statements import RowMissing as RowMissing
from workers.store.statements import one as one
from workers.store.statements import sql as sql

_cells: WeakKeyDictionary[psycopg.Connection[TupleRow], Cell] = WeakKeyDictionary()  # to which connections lead

Connection = psycopg.Connection[TupleRow]


def connect(place: Cell | str, **settings: str) -> Connection:
    """Returns a connection in autocommit: what belongs together stands in `with connection.transaction()`. It leads to
    the tables of a cell, or of the schema that a URL leads to. `settings` take the place of sessions.PREFERRED.

    Raises psycopg.OperationalError if Postgres can't be reached, TransactionPooling among them.
    """
    database_url, schema = (place, None) if isinstance(place, str) else (place.database_url, place.schema)
    connection = psycopg.connect(database_url, autocommit=True, **sessions.client_options(database_url))
    try:
        backend, _ = one(connection.execute(*sessions.settings_query(settings)))
        if backend != connection.info.backend_pid:
            sessions.refuse_transaction_pooling(database_url)
        if schema:
            connection.execute(*sessions.path_query(schema))
    except BaseException:
        connection.close()
        raise
    if not isinstance(place, str):
        _cells[connection] = place
    return connection


def find_cell(connection: Connection) -> Cell | None:
    """Returns the cell that a connection leads to; None if it was opened with a mere URL."""
    return _cells.get(connection)
