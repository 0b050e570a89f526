"""The places of an installation's cells: each has to stay where its customers are, or they would be stored twice.

Home keeps which cells there are and the installation id of each one's tables; Redis holds the same for the doors, which
never ask Postgres. A list of places that is swapped or shortened is refused by whoever reads it, before anything is
stored.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
from psycopg.errors import UndefinedTable
from redis import Redis

from workers import installation
from workers.cells import Cell
from workers.installation import ForeignRedis
from workers.redis import PREFIX, redis_client
from workers.settings import Settings
from workers.store import Connection, connect, naming, only_row, presence, sql
from workers.store.migrate import migrate

COUNT, WAS_SINGLE = "count", "was_single"
NOT_SET_UP = "the cells are not set up yet; run `windback migrate`"
HERE = f"{PREFIX}:cells:here"  # a set, in each Redis of a list: the names of the cells whose buffer it holds


class Misplaced(ForeignRedis):
    """The settings lead to other places than those where the cells are. Set them as they were; `windback cells split`
    makes more cells."""


class Announced(NamedTuple):
    """How many cells are announced (0: none), and if they come of a single one."""

    cells: int
    was_single: bool

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> "Announced":
        """Returns what the fields of the hash say."""
        return cls(int(fields.get(COUNT, 0)), fields.get(WAS_SINGLE) == "1")


@contextmanager
def connect_cells(settings: Settings) -> Iterator[list[Connection]]:
    """Yields a connection to each of several cells; none where there is a single one, which is at home."""
    with ExitStack() as stack:
        cells = settings.all_cells if settings.cells > 1 else ()
        yield [stack.enter_context(presence.enter(cell)) for cell in cells]


def migrate_all(settings: Settings, *, present: bool = False) -> list[str]:
    """Bring home and all cells to the current schema; returns what was applied. `present`: leave out cells whose
    Postgres is away. Raises Misplaced, MigrationError, psycopg.OperationalError."""
    applied = migrate(settings.home)
    with connect(settings.home) as home:
        check_count(home, settings.cells)
        if settings.cells == 1:
            return applied
        for cell in settings.all_cells:
            try:
                applied += [f"{name} in cell {cell.name}" for name in _migrate_cell(home, cell)]
            except psycopg.OperationalError:
                if not present:
                    raise
    return applied


def _migrate_cell(home: Connection, cell: Cell) -> list[str]:
    noted = list_noted(home).get(cell.number or 0)
    if noted and not has_schema(cell):
        raise Misplaced(describe_moved(cell))
    applied = migrate(cell, can_create=noted is None)
    with connect(cell) as connection:
        installation_id = installation.find_id(connection)
        connection.execute(sql("begin_numbers"), {"number": cell.number, "cells": cell.cells})
        presence.check(connection, cell)
    if noted is None:
        home.execute(sql("note_cell"), {"number": cell.number, "installation_id": installation_id})
    check_tables(cell, noted or installation_id, installation_id)
    return applied


def has_schema(cell: Cell) -> bool:
    """Returns True if the cell's Postgres has its schema."""
    with naming(cell), connect(cell.database_url) as connection:
        return bool(only_row(connection.execute(sql("has_schema"), {"schema": cell.schema}))[0])


def find_free_schema(connection: Connection, name: str) -> str:
    """Returns a name for a schema, numbered if others have it."""
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(free for free in names if not only_row(connection.execute(sql("has_schema"), {"schema": free}))[0])


def list_noted(home: Connection) -> dict[int, str]:
    """Returns the installation id of each cell's tables, as home has noted them; none where there is a single cell."""
    return dict(home.execute(sql("list_cells")).fetchall())


def count_cells(settings: Settings) -> int:
    """Returns how many cells home has noted; 0 for a single one, and before the first migration. Raises
    psycopg.OperationalError."""
    with connect(settings.home) as home, suppress(UndefinedTable):
        return len(list_noted(home))
    return 0


def was_single(home: Connection) -> bool:
    """Returns True if the cells come of a single one."""
    return bool(only_row(home.execute(sql("was_single")))[0])


def check_count(home: Connection, cells: int) -> None:
    """Raises Misplaced unless this installation has so many cells, or is about to begin with them."""
    noted = len(list_noted(home))
    if noted not in (0, cells):
        raise Misplaced(describe_count(noted, cells))
    if not noted and cells > 1 and only_row(home.execute(sql("holds_customers")))[0]:
        raise Misplaced(describe_count(1, cells))


def describe_count(noted: int, cells: int) -> str:
    """Returns that the number of cells is wrong, in words."""
    has = "a single cell" if noted == 1 else f"{noted} cells"
    return f"this installation has {has}, and WINDBACK_CELLS is {cells}; set it to {noted}"


def check_places(cells: Iterable[Cell]) -> None:
    """Raises Misplaced if a cell isn't where the settings say: they are older than the last move, and a list made of
    them would lead to its old place; or if a split was interrupted. Cells whose Postgres is away are left out."""
    for cell in cells:
        with suppress(psycopg.OperationalError):
            if not has_schema(cell):
                raise Misplaced(describe_moved(cell))
            with connect(cell) as connection:
                _check_numbers(connection, cell)


def _check_numbers(connection: Connection, cell: Cell) -> None:
    try:
        presence.check(connection, cell)
    except presence.CellTaken as error:
        raise Misplaced(str(error)) from None


def reach_all(cells: Iterable[Cell]) -> None:
    """Raises psycopg.OperationalError unless all databases are there: else some would be divided, and others not."""
    for cell in cells:
        with naming(cell), connect(cell.database_url):
            pass


def group_by_database(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Returns the cells of each database."""
    urls = dict.fromkeys(cell.database_url for cell in cells)
    return [[cell for cell in cells if cell.database_url == url] for url in urls]


def check_room(cells: Sequence[Cell], after: Settings) -> None:
    """Raises Misplaced if the database of these cells, which are to be divided, has schemas of the names that the
    halves get."""
    url, names = cells[0].database_url, {cell.schema for cell in cells}
    wanted = (half for half in after.all_cells if half.database_url == url and half.schema not in names)
    for half in wanted:
        if has_schema(half):
            whose = "home" if cells[0].is_single else f"cell {cells[0].name}"
            raise Misplaced(
                f"schema {half.schema} is in the way in the database of {whose}: a `windback cells move`"
                " left it when it was interrupted, or it is another installation's; run that move again, or rename it"
            )


def check_target(connection: Connection, there: Cell) -> None:
    """Raises Misplaced if the schema to which a cell is to be moved has the tables of another one, or of another
    installation."""
    is_there, *numbers = only_row(connection.execute(*presence.numbers_query(there)))
    if is_there and None not in numbers and numbers != [there.number, there.cells]:
        raise Misplaced(
            f"schema {there.schema} of the other server has the tables of cell {numbers[0]:03} of {numbers[1]}; if"
            " `windback cells split` was interrupted, run it again, else name another database"
        )
    if only_row(connection.execute(sql("holds_customers")))[0]:
        raise Misplaced(
            f"schema {there.schema} of the other server holds customers of another installation; name another database"
        )


def describe_moved(cell: Cell) -> str:
    """Returns that a cell's tables are elsewhere, in words."""
    return (
        f"cell {cell.name} has no schema {cell.schema} there; set WINDBACK_CELL_DATABASE_URLS as the last"
        " `windback cells move` printed it, or as it was"
    )


def double(settings: Settings) -> Settings:
    """Returns the settings of twice as many cells: each half has its tables where the whole had them. Buffers stay with
    their numbers, and those of the new cells are beside them."""
    databases, buffers = (settings.cell_database_urls or "").split(), (settings.cell_buffer_urls or "").split()
    return settings.changed(
        cells=2 * settings.cells,
        cell_database_urls=" ".join(url for url in databases for _ in range(2)) or None,
        cell_buffer_urls=" ".join(buffers + buffers) or None,
    )


def follow(settings: Settings, announced: Announced) -> Settings:
    """Returns the settings of as many cells as there are, if the ones there were have been divided since, once or
    several times. Where there was never a single one, a process that has one has the wrong settings."""
    after = settings
    while after.cells < announced.cells and (after.cells > 1 or announced.was_single):
        after = double(after)
    return after if after.cells == announced.cells else settings


def has_buffer(cell: Cell) -> bool:
    """Returns True if the Redis of a cell is known to hold its buffer. Raises RedisError."""
    with redis_client(cell.buffer_url) as redis:
        return bool(redis.exists(installation.key_of(cell.prefix)))


def read_announced(redis: Redis) -> Announced:
    """Returns how many cells home's Redis announces, and if they come of a single one."""
    fields: Any = redis.hgetall(announced_key())
    return Announced.of({name.decode(): value.decode() for name, value in fields.items()})


def check_tables(cell: Cell, noted: str | None, installation_id: str) -> None:
    """Raises Misplaced unless these are the cell's own tables."""
    if noted != installation_id:
        raise Misplaced(
            f"the tables of cell {cell.name} are another installation's; set WINDBACK_CELL_DATABASE_URLS as it was"
        )


def list_copies(settings: Settings) -> list[Cell]:
    """Returns a cell for each server that isn't home's: its buffer holds copies of what doors read of home."""
    by_server: dict[str, Cell] = {}
    for cell in settings.all_cells:
        by_server.setdefault(cell.buffer_server, cell)
    by_server.pop(settings.redis_url or "", None)
    return list(by_server.values())


def announced_key(prefix: str = PREFIX) -> str:
    """A hash at home, and its copies: `count`, `was_single`, and the number of each cell → its installation id."""
    return f"{prefix}:cells"


def announce(redis: Redis, noted: Mapping[int, str], prefix: str = PREFIX, *, was_single: bool = False) -> None:
    """Tell the doors which cells there are, and if a single one was divided."""
    if noted:
        fields: dict[Any, Any] = {f"{number:03}": installation_id for number, installation_id in noted.items()}
        redis.hset(announced_key(prefix), mapping={COUNT: len(noted), WAS_SINGLE: int(was_single), **fields})


def tie_buffer(redis: Redis, settings: Settings, cell: Cell, installation_id: str) -> None:
    """Note in Redis that it holds this cell's buffer. Raises Misplaced if it holds others alone, ForeignRedis."""
    if settings.cell_buffer_urls and cell.number is not None:
        here: Any = redis.smembers(HERE)
        if not here:
            redis.sadd(HERE, *(other.name for other in settings.all_cells if other.buffer_url == cell.buffer_url))
        elif cell.name.encode() not in here:
            raise Misplaced(describe_swapped(cell))
    installation.tie(redis, installation_id, cell.prefix)


def describe_swapped(cell: Cell) -> str:
    """Returns that a cell's buffer is elsewhere, in words."""
    return f"the buffer of cell {cell.name} is in another Redis; set WINDBACK_CELL_BUFFER_URLS as it was"


def find_fault(announced: Mapping[str, str], cells: int) -> str | None:
    """Returns what is wrong with the number of cells, as a door reads it, or None."""
    return find_count_fault(int(announced.get(COUNT, 0)), cells)


def find_count_fault(count: int, cells: int) -> str | None:
    """Returns why the number of cells is wrong where `count` are announced (0: a single one), or None."""
    if cells > 1 and not count:
        return NOT_SET_UP
    return describe_count(count, cells) if count not in (0, cells) else None
