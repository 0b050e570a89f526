"""More cells, and cells on other servers: `windback cells split` and `windback cells move`.

Doors may go on meanwhile: what they take waits in the buffers. Workers and clocks are stopped, so nobody writes to the
tables. After a split the old buffers still hold events of customers who live in other cells by then; whoever stores a
batch passes these on to their cell, so they are stored there, once.
"""

from collections.abc import Iterable, Sequence

from psycopg import sql as pieces
from redis import Redis

from workers import heartbeat, installation, placement
from workers.cells import Cell
from workers.placement import HERE, Misplaced, connect_cells
from workers.redis import PREFIX, redis_client
from workers.settings import Settings
from workers.store import Connection, connect, one, sql
from workers.store.migrate import migrate
from workers.tickets import JOBS

WORKING = (*JOBS, "clock")  # kinds of processes that write to tables
# Of a cell that is divided, each half keeps these of its own, or counts them anew.
APART = frozenset(
    {
        *("schema_migrations", "installation", "cells", "api_keys", "stripe_sources", "trainings", "matured"),
        *("signing_secrets", "ended_sessions", "tallied", "recounts", "event_days", "event_returns", "event_hours"),
        *("risk_moves", "levels_restated", "landed", "summaries", "ledger_moves", "forwards", "customer_search"),
        *("recent_events", "erasing", "leaving"),
    }
)
EMPTIED = ("tallied", "recounts", "recent_events", "leaving")  # so that the totals are counted anew
STAYS = frozenset({"schema_migrations", "installation"})  # of a cell that is moved


class StillWorking(Exception):
    """Workers or clocks run. Stop them (the web processes may go on), and try again."""


def refuse_while_working(redis: Redis) -> None:
    """Raises StillWorking if any worker or clock has beaten lately."""
    pipeline = redis.pipeline(transaction=False)
    heartbeat.queue_read(pipeline)
    beats = heartbeat.parse(pipeline.execute()[0])
    running = sorted({beat.kind for beat in beats.values() if beat.kind in WORKING})
    if running:
        raise StillWorking(f"{', '.join(running)} still runs; stop all workers and clocks, the web processes may go on")


def split(settings: Settings) -> Settings:
    """Divide each cell in two. Returns the settings that hold from now on. Raises Misplaced, psycopg.Error: then
    nothing has changed where all cells are in one database."""
    if settings.cells == 1:
        raise Misplaced("there is a single cell, at home, and only several can be divided; begin with several")
    placement.migrate_all(settings)
    after = _double(settings)
    halves = [cell._replace(staged=True) for cell in after.all_cells if (cell.number or 0) % 2]
    for half in halves:
        migrate(half)
    for url in dict.fromkeys(cell.database_url for cell in settings.all_cells):
        with connect(url) as connection, connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            _split_database(connection, [cell for cell in settings.all_cells if cell.database_url == url])
    _note(after)
    return after


def _double(settings: Settings) -> Settings:
    """The settings of twice as many cells, each half where the whole was."""
    names = {"cells": 2 * settings.cells}
    lists = {
        name: " ".join(url for url in urls.split() for _ in range(2))
        for name in ("cell_database_urls", "cell_buffer_urls")
        if (urls := getattr(settings, name))
    }
    return settings.changed(**names, **lists)


def _split_database(connection: Connection, cells: Sequence[Cell]) -> None:
    """Divide the cells of a database, in a transaction; the last one first, so that each finds its new name free."""
    for cell in reversed(cells):
        number = cell.number or 0
        upper = cell._replace(number=2 * number + 1, cells=2 * cell.cells)
        _divide(connection, cell.schema or "", upper._replace(staged=True).schema or "", upper)
        _rename(connection, cell.schema or "", upper._replace(number=2 * number, staged=True).schema or "")
    for cell in cells:
        for number in (2 * (cell.number or 0), 2 * (cell.number or 0) + 1):
            done = cell._replace(number=number)
            _rename(connection, done._replace(staged=True).schema or "", done.schema or "")


def _divide(connection: Connection, lower: str, upper: str, cell: Cell) -> None:
    """Move the upper half of a schema's customers to another schema, which is empty."""
    first = f"{-(-(cell.number or 0) * 2**32 // cell.cells):08x}-0000-0000-0000-000000000000"
    tables = [(table, _list_columns(connection, lower, table)) for table in _list_tables(connection, lower, APART)]
    owned = [table for table in _list_tables(connection, lower, ()) if _has_customers(connection, lower, table)]
    whose = pieces.SQL("WHERE customer_id >= {}").format(first)
    _lead_to(connection, upper)
    for table, columns in tables:
        source, where = pieces.Identifier(lower, table), whose if table in owned else pieces.SQL("")
        query = pieces.SQL("INSERT INTO {} ({}) SELECT {} FROM {} {}")
        connection.execute(query.format(pieces.Identifier(table), columns, columns, source, where))
    connection.execute(sql("fill_search"))
    _lead_to(connection, lower)
    for table in owned:
        connection.execute(pieces.SQL("DELETE FROM {} {}").format(pieces.Identifier(table), whose))
    for table in EMPTIED:
        connection.execute(pieces.SQL("DELETE FROM {}").format(pieces.Identifier(table)))


def _lead_to(connection: Connection, schema: str) -> None:
    connection.execute(pieces.SQL("SET LOCAL search_path TO {}").format(pieces.Identifier(schema)))


def _rename(connection: Connection, schema: str, name: str) -> None:
    rename = pieces.SQL("ALTER SCHEMA {} RENAME TO {}")
    connection.execute(rename.format(pieces.Identifier(schema), pieces.Identifier(name)))


def _list_tables(connection: Connection, schema: str, without: Iterable[str]) -> list[str]:
    """The tables of a schema."""
    rows = connection.execute(sql("list_cell_tables"), {"schema": schema, "without": list(without)})
    return [table for (table,) in rows.fetchall()]


def _has_customers(connection: Connection, schema: str, table: str) -> bool:
    """Returns whether the rows of a table belong to customers."""
    names = connection.execute(sql("list_copied_columns"), {"schema": schema, "table": table}).fetchall()
    return ("customer_id",) in names


def _list_columns(connection: Connection, schema: str, table: str) -> pieces.Composed:
    names = connection.execute(sql("list_copied_columns"), {"schema": schema, "table": table}).fetchall()
    return pieces.SQL(", ").join(pieces.Identifier(name) for (name,) in names)


def _note(after: Settings) -> None:
    """Note at home and in each Redis which cells there are now."""
    with connect_cells(after) as connections:
        noted = {number: installation.find_id(connection) for number, connection in enumerate(connections)}
    with connect(after.home) as home, home.transaction():
        home.execute(sql("forget_cells"))
        for number, installation_id in noted.items():
            home.execute(sql("note_cell"), {"number": number, "installation_id": installation_id})
    prefixes = {cell.buffer_url: cell.copy_prefix for cell in placement.list_copies(after)}
    prefixes[after.redis_url or ""] = PREFIX
    for url in dict.fromkeys([after.redis_url or "", *(cell.buffer_url for cell in after.all_cells)]):
        with redis_client(url) as redis, redis.pipeline() as pipeline:
            _tie(pipeline, after, url, noted)
            if url in prefixes:
                placement.announce(pipeline, noted, prefixes[url])
            pipeline.execute()


def _tie(pipeline: Redis, after: Settings, url: str, noted: dict[int, str]) -> None:
    here = [cell for cell in after.all_cells if cell.buffer_url == url]
    for cell in here:
        pipeline.set(installation.key_of(cell.prefix), noted[cell.number or 0])
    if here and after.cell_buffer_urls:
        pipeline.delete(HERE)
        pipeline.sadd(HERE, *(cell.name for cell in here))


def move(settings: Settings, number: int, database_url: str) -> Settings:
    """Copy a cell's tables to another server, and take them away where they are. Returns the settings that hold from
    now on. Raises Misplaced, psycopg.Error: then the cell is where it was."""
    cell = settings.all_cells[number]
    urls = [other.database_url for other in settings.all_cells]
    after = settings.changed(cell_database_urls=" ".join([*urls[:number], database_url, *urls[number + 1 :]]))
    there = after.all_cells[number]
    if there == cell:
        raise Misplaced(f"cell {cell.name} is there already")
    migrate(cell)
    migrate(there)
    with connect(cell) as source, connect(there) as target, target.transaction():
        target.execute("SET LOCAL statement_timeout = 0")
        source.execute("SET statement_timeout = 0")
        if one(target.execute(sql("holds_customers")))[0]:
            raise Misplaced(f"schema {there.schema} of the other server holds customers already; drop it first")
        for table in _list_tables(source, cell.schema or "", {*STAYS, "customer_search"}):
            _copy(source, target, table, _list_columns(source, cell.schema or "", table))
        target.execute(sql("fill_search"))
        target.execute(sql("adopt_installation"), {"installation_id": installation.find_id(source)})
    with connect(cell) as source:
        _rename(source, cell.schema or "", f"{cell.schema}_moved")
    return after


def _copy(source: Connection, target: Connection, table: str, columns: pieces.Composed) -> None:
    name = pieces.Identifier(table)
    reading = pieces.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(columns, name)
    writing = pieces.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(name, columns)
    with source.cursor().copy(reading) as out, target.cursor().copy(writing) as into:
        for data in out:
            into.write(data)
