"""More cells, and cells on other servers: `windback cells split` and `windback cells move`, while events come in.

The command has the tables that it divides or moves alone; events that the doors take meanwhile wait in the buffers, and
all else goes on. Everything that is done to one database is done in one transaction, and tables say which of how many
cells they are, so a command that was interrupted is run again: it goes on where it ended.

After a split the buffers stay where they are, so they still hold events of customers who live in other cells by then;
whoever stores a batch passes these on to their cell, so they are stored there, once. Processes take over the new number
of cells by themselves.
"""

from collections.abc import Sequence
from contextlib import ExitStack

from psycopg import sql as pieces
from redis import Redis

from workers import citus, installation, placement
from workers.buffer.lanes import LIVE, lanes_of
from workers.buffer.replicas import confirm
from workers.cells import MOST_CELLS, Cell
from workers.identities import ledger_moves
from workers.ingest import receipts
from workers.placement import HERE, Misplaced
from workers.redis import PREFIX, redis_client
from workers.settings import Settings
from workers.store import Connection, connect, leaving_home, only_row, presence, schemas, sql
from workers.store.migrate import migrate
from workers.upkeep import level_moves

# Of a cell that is divided, each half keeps these of its own, or counts them anew.
APART = frozenset(
    {
        *("schema_migrations", "installation", "cells", "api_keys", "stripe_sources", "trainings", "matured"),
        *("signing_secrets", "ended_sessions", "tallied", "recounts", "event_days", "event_returns", "event_hours"),
        *("risk_moves", "levels_restated", "landed", "summaries", "ledger_moves", "forwards", "customer_search"),
        *("recent_events", "erasing", "leaving", "arriving", "churn_months"),
    }
)
EMPTIED = ("tallied", "recounts", "recent_events", "leaving", "arriving")  # so that the totals are counted anew
STAYS = frozenset({"schema_migrations", "installation"})  # of a cell that is moved


def split(settings: Settings) -> Settings:
    """Divide each cell in two. Returns the settings that hold from now on. Raises Misplaced, psycopg.Error, RedisError:
    then it may be done again, and goes on."""
    if settings.cells > MOST_CELLS // 2:
        raise Misplaced(f"there are {settings.cells} cells, and may be {MOST_CELLS}")
    after = placement.double(settings)
    with ExitStack() as stack:
        home = stack.enter_context(connect(settings.home))
        noted = placement.list_noted(home)
        if len(noted) != after.cells:  # else that was done before, and perhaps not announced
            placement.check_count(home, settings.cells)
            placement.reach_all(settings.all_cells)
            databases = placement.group_by_database(settings.all_cells)
            for here in databases:
                if not _is_divided(here[0], after):
                    placement.check_room(here, after)
            for here in databases:
                _split_database(stack, here, after, noted)
            noted = placement.list_noted(home) if settings.cells == 1 else _note(home, after)
        _announce(after, noted, was_single=placement.was_single(home))
    return after


def _split_database(stack: ExitStack, cells: Sequence[Cell], after: Settings, noted: dict[int, str]) -> None:
    """Divide the cells of a database in one transaction, and have them alone until the stack ends."""
    if _is_divided(cells[0], after):
        return
    for cell in cells:
        _prepare(cell, noted)
    connection = stack.enter_context(_connect_for_locks(cells[0].database_url))
    names = [cell.schema or schemas.find_own(connection) for cell in cells]
    for cell, schema in zip(cells, names, strict=True):
        holder = stack.enter_context(_connect_for_locks(cell)) if citus.is_placed(cell) else connection
        presence.seize(holder, schema)
    for cell in cells:
        _settle(cell, after.buffer_replicas)
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        _divide_all(connection, cells, names)


def _prepare(cell: Cell, noted: dict[int, str]) -> None:
    """Make empty tables beside those of a cell. Raises Misplaced if the cell isn't where the settings say."""
    lower, upper = (half._replace(staged=True) for half in _halves(cell))
    if cell.is_single:
        migrate(cell)
        migrate(lower)
    else:
        _check_place(cell)
        migrate(cell, can_create=False)
        with connect(cell) as connection:
            placement.check_tables(cell, noted.get(cell.number or 0), installation.find_id(connection))
    migrate(upper)
    citus.place_beside(cell, upper)


def _connect_for_locks(place: Cell | str) -> Connection:
    """Returns a connection whose locks end with a command that is killed."""
    connection = connect(place)
    connection.execute("SET client_connection_check_interval = '1s'")
    return connection


def _check_place(cell: Cell) -> None:
    """Raises Misplaced if the cell isn't where the settings say: migrating would make it anew."""
    if not placement.has_schema(cell):
        raise Misplaced(placement.describe_moved(cell))


def _halves(cell: Cell) -> tuple[Cell, Cell]:
    lower = cell._replace(number=2 * (cell.number or 0), cells=2 * cell.cells)
    return lower, lower._replace(number=2 * (cell.number or 0) + 1)


def _is_divided(cell: Cell, after: Settings) -> bool:
    """Returns True if the database of this cell was divided before."""
    lower, _ = _halves(cell)
    if not placement.has_schema(lower):
        return False
    with connect(lower) as connection:
        is_there, *numbers = only_row(connection.execute(sql("find_numbers"), {"schema": lower.schema}))
    return is_there and numbers == [lower.number, after.cells]


def _settle(cell: Cell, replicas: int) -> None:
    """Have the buffer and the ledger know all that is stored: receipts stay behind. So many replicas have to know it,
    too: a master that takes over without would give entries of before again. Raises RedisError."""
    with connect(cell) as connection, redis_client(cell.buffer_url) as redis:
        for lane in lanes_of(cell).values():
            receipts.acknowledge_stored(connection, redis, lane)
        ledger_moves.apply_moves(connection, redis, lanes_of(cell))
        confirm(redis, lanes_of(cell)[LIVE.name], replicas)


def _divide_all(connection: Connection, cells: Sequence[Cell], names: Sequence[str]) -> None:
    """Divide these cells, which have these schemas; the last one first, so that each finds its new name free."""
    for cell, schema in zip(cells, names, strict=True):
        list_tables = leaving_home.list_customer_tables if cell.is_single else schemas.list_tables
        schemas.lock_tables(connection, schema, list_tables(connection, _stage_names(cell)[1]))
    for cell, schema in reversed([*zip(cells, names, strict=True)]):
        staged, staged_upper = _stage_names(cell)
        lower, upper = _halves(cell)
        _divide(connection, schema, staged_upper, upper)
        if cell.is_single:
            leaving_home.move_out(connection, schema, staged)
        else:
            schemas.rename(connection, schema, staged)
        for name, half in ((staged, lower), (staged_upper, upper)):
            schemas.lead_to(connection, name)
            connection.execute(sql("note_numbers"), {"number": half.number, "cells": half.cells})
            connection.execute(sql("forget_places"))
    for cell, schema in zip(cells, names, strict=True):
        for half, staged in zip(_halves(cell), _stage_names(cell), strict=True):
            schemas.rename(connection, staged, half.schema or "")
        if cell.is_single:
            leaving_home.note_cells(connection, schema, _halves(cell))


def _stage_names(cell: Cell) -> tuple[str, str]:
    """Returns the schemas of the two halves until they are done."""
    lower, upper = (half._replace(staged=True).schema or "" for half in _halves(cell))
    return lower, upper


def _divide(connection: Connection, lower: str, upper: str, cell: Cell) -> None:
    """Move the upper half of a schema's customers to another schema, which is empty."""
    first = f"{-(-(cell.number or 0) * 2**32 // cell.cells):08x}-0000-0000-0000-000000000000"
    names = schemas.list_tables(connection, upper)
    tables = [(name, schemas.quote_columns(connection, upper, name)) for name in names if name not in APART]
    owned = [name for name in names if "customer_id" in schemas.list_columns(connection, upper, name)]
    whose = pieces.SQL("WHERE customer_id >= {}").format(first)
    schemas.lead_to(connection, upper)
    for table, columns in tables:
        source, where = pieces.Identifier(lower, table), whose if table in owned else pieces.SQL("")
        query = pieces.SQL("INSERT INTO {} ({}) SELECT {} FROM {} {}")
        connection.execute(query.format(pieces.Identifier(table), columns, columns, source, where))
    for name in ("fill_search", "adopt_alerting", "recount_moves"):
        connection.execute(sql(name))
    schemas.lead_to(connection, lower)
    level_moves.give_moves(connection, upper)
    for table in owned:
        connection.execute(pieces.SQL("DELETE FROM {} {}").format(pieces.Identifier(table), whose))
    for table in EMPTIED:
        connection.execute(pieces.SQL("DELETE FROM {}").format(pieces.Identifier(table)))


def _note(home: Connection, after: Settings) -> dict[int, str]:
    """Note at home which cells there are now. Returns the installation id of each one's tables."""
    noted = {number: _find_id(cell) for number, cell in enumerate(after.all_cells)}
    with home.transaction():
        home.execute(sql("forget_cells"))
        for number, installation_id in noted.items():
            home.execute(sql("note_cell"), {"number": number, "installation_id": installation_id})
    return noted


def _announce(after: Settings, noted: dict[int, str], *, was_single: bool) -> None:
    """Tell each Redis which cells there are: then processes take the number over. Replicas have to know it, too."""
    prefixes = {cell.buffer_url: cell.copy_prefix for cell in placement.list_copies(after)}
    prefixes[after.redis_url or ""] = PREFIX
    for url in dict.fromkeys([*(cell.buffer_url for cell in after.all_cells), after.redis_url or ""]):
        with redis_client(url) as redis, redis.pipeline() as pipeline:
            _tie(pipeline, after, url, noted)
            if url in prefixes:
                placement.announce(pipeline, noted, prefixes[url], was_single=was_single)
            pipeline.execute()
            for cell in _list_here(after, url):
                confirm(redis, lanes_of(cell)[LIVE.name], after.buffer_replicas)


def _tie(pipeline: Redis, after: Settings, url: str, noted: dict[int, str]) -> None:
    here = _list_here(after, url)
    for cell in here:
        pipeline.set(installation.key_of(cell.prefix), noted[cell.number or 0])
    if here and after.cell_buffer_urls:
        pipeline.delete(HERE)
        pipeline.sadd(HERE, *(cell.name for cell in here))


def _list_here(settings: Settings, buffer_url: str) -> list[Cell]:
    return [cell for cell in settings.all_cells if cell.buffer_url == buffer_url]


def move(settings: Settings, number: int, database_url: str) -> Settings:
    """Copy a cell's tables to another server, and take them away here. Returns the settings that hold from now on.
    Raises Misplaced, psycopg.Error: then the cell is where it was, and it may be done again."""
    cell = settings.all_cells[number]
    urls = [other.database_url for other in settings.all_cells]
    after = settings.changed(cell_database_urls=" ".join([*urls[:number], database_url, *urls[number + 1 :]]))
    there = after.all_cells[number]
    if there == cell:
        raise Misplaced(f"cell {cell.name} is there already")
    with connect(settings.home) as home:
        noted = placement.list_noted(home).get(number)
    placement.check_places(other for other in settings.all_cells if other.number != number)
    if not _is_moved(cell, there, noted):
        _check_place(cell)
        migrate(cell, can_create=False)
        with _connect_for_locks(cell.database_url) as connection:
            presence.seize(connection, cell.schema or "")
            _copy_cell(cell, there, noted)
            name = placement.find_free_schema(connection, f"{cell.schema}_moved")
            schemas.rename(connection, cell.schema or "", name)
    return after


def _is_moved(cell: Cell, there: Cell, noted: str | None) -> bool:
    """Returns True if the cell has been moved there before."""
    return not placement.has_schema(cell) and placement.has_schema(there) and _find_id(there) == noted


def _find_id(cell: Cell) -> str:
    with connect(cell) as connection:
        return installation.find_id(connection)


def _copy_cell(cell: Cell, there: Cell, noted: str | None) -> None:
    """Copy a cell's tables in one transaction. A copy that was not finished is dropped: the cell has gone on since."""
    if placement.has_schema(there) and _find_id(there) == noted:
        with connect(there.database_url) as target:
            target.execute(pieces.SQL("DROP SCHEMA {} CASCADE").format(pieces.Identifier(there.schema or "")))
    migrate(there)
    with connect(cell) as source, connect(there) as target, target.transaction():
        target.execute("SET LOCAL statement_timeout = 0")
        source.execute("SET statement_timeout = 0")
        placement.check_tables(cell, noted, installation.find_id(source))
        placement.check_target(target, there)
        with source.transaction():
            schemas.lock_tables(source, cell.schema or "", schemas.list_tables(source, cell.schema or ""))
            for table in schemas.list_tables(source, cell.schema or "", {*STAYS, "customer_search"}):
                _copy(source, target, table, schemas.quote_columns(source, cell.schema or "", table))
        target.execute(sql("fill_search"))
        target.execute(sql("adopt_alerting"))
        target.execute(sql("adopt_installation"), {"installation_id": noted})
        target.execute(sql("note_numbers"), {"number": cell.number, "cells": cell.cells})


def _copy(source: Connection, target: Connection, table: str, columns: pieces.Composed) -> None:
    name = pieces.Identifier(table)
    reading = pieces.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(columns, name)
    writing = pieces.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(name, columns)
    with source.cursor().copy(reading) as out, target.cursor().copy(writing) as into:
        for data in out:
            into.write(data)
