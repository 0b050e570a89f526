"""A batch's events into their table, and which of them were not there yet.

Nearly all batches hold new events alone: these are copied into the table as they are, as quickly as Postgres can. The
first event that is there already ends that attempt. The next one, and the next batches until one is all new again, are
inserted past those that are there.
"""

from collections.abc import Sequence
from weakref import WeakSet

import psycopg

from workers.buffer import arrays
from workers.buffer.columns import make_event_columns, make_key_columns, make_span_columns
from workers.buffer.fold import Fold, fold
from workers.buffer.rows import Row
from workers.buffer.staging import StagedRows
from workers.buffer.table import tabulate
from workers.ingest import bounds
from workers.store import Connection, only_row, sql
from workers.upkeep import retention

MOST_INTRODUCED = 500  # customers in a transaction of their own: some 10 milliseconds

_wary: WeakSet[Connection] = WeakSet()  # connections whose last batch met events that were there


class MetBefore(Exception):
    """An event of a batch that was taken to be all new is in the tables already, or was once."""


def is_wary(connection: Connection) -> bool:
    """Returns whether the next batch may hold events that are there."""
    return connection in _wary


def insert_all(connection: Connection, staged: StagedRows, added: Fold) -> None:
    """Insert events that are all new, and the new ones of their customers. Raises MetBefore, and then nothing of the
    transaction may stand."""
    if _claim_event_ids(connection, staged) or retention.may_be_pruned(connection, staged):
        raise MetBefore
    _insert_customers(connection, added)
    try:
        with connection.cursor() as cursor, cursor.copy(sql("copy_events")) as copy:
            copy.write(staged.copy)
    except psycopg.errors.UniqueViolation:
        raise MetBefore from None


def insert_new(connection: Connection, staged: StagedRows, added: Fold, now_us: int) -> Sequence[Row]:
    """Insert those events that are new, and the new ones of their customers. Returns the rows that are new, in the
    order of their keys. An event that was sent again, with another time, says nothing of when its customer was seen."""
    rows = staged.distinct
    if _claim_event_ids(connection, staged):
        rows = _without_seen(connection, rows)
    if retention.may_be_pruned(connection, staged):
        rows = retention.without_pruned(connection, rows)
    _insert_customers(connection, added if len(rows) == len(staged.distinct) else fold(tabulate(rows), now_us))
    inserted = set(connection.execute(sql("insert_new_events"), make_event_columns(rows)))
    (_wary.discard if len(inserted) == len(staged.rows) else _wary.add)(connection)
    return [row for row in rows if row[:3] in inserted]


def _claim_event_ids(connection: Connection, staged: StagedRows) -> int:
    """Note the event_ids of these rows. Returns how many were noted before."""
    if not staged.identified:
        return 0
    identified = sorted((row for row in staged.distinct if row.identified), key=lambda row: (row[0], row[2], row[3]))
    received = {"received_at": arrays.moments([row.received_us for row in identified])}
    (claimed,) = only_row(connection.execute(sql("claim_event_ids"), make_key_columns(identified) | received))
    return len(identified) - int(claimed)


def _without_seen(connection: Connection, rows: Sequence[Row]) -> Sequence[Row]:
    """Returns the rows without those whose event_id was noted with another time."""
    identified = [row for row in rows if row.identified]
    places = connection.execute(sql("find_seen_event_ids"), make_key_columns(identified))
    seen = {identified[place][:3] for (place,) in places}
    return [row for row in rows if row[:3] not in seen]


def introduce(connection: Connection, added: Fold) -> int:
    """Insert new customers before their events, MOST_INTRODUCED at most. Returns how many."""
    return _insert_customers(connection, added, MOST_INTRODUCED)


def _insert_customers(connection: Connection, added: Fold, most: int | None = None) -> int:
    if new := bounds.take_new_customers(bounds.find_memory(connection), added, most):
        connection.execute(sql("insert_new_customers"), make_span_columns(added, new))
    return len(new)
