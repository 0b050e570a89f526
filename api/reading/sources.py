"""Where the rows of pages and routes come from: home, and the databases that hold cells.

Cells that share a database are read by one statement over one connection (see statements.py): an answer then costs
little more than that of a single cell. Where Citus has placed the cells, each is asked on its own node.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.errors import DivisionByZero, FeatureNotSupported, InvalidSchemaName, UndefinedTable
from psycopg.sql import SQL, Identifier

from api.pool import CLOSE_SECONDS, Pool
from api.reading.merging import Row
from api.reading.statements import Merging, NumberedStatement, changes, join_cells, number_parameters
from workers.cells import Cell, cell_of
from workers.store import find_absent_cell, naming, presence
from workers.store.nodes import Moved
from workers.store.presence import CellTaken

MOST_PREPARED = 16  # cells that a statement reads: beyond, it takes more memory than it is worth

Parameters = Mapping[str, Any]
Connection = AsyncConnection[Any]
Rows = tuple[Sequence[str], Sequence[tuple[Any, ...]]]  # the names of the columns, and the values


class Source:
    """A database with cells, or home with what belongs to accounts. `apart` are the pools of each cell alone, `keeping`
    is the pool of statements over cells whose plans are kept."""

    def __init__(
        self, pool: Pool, cells: Sequence[Cell] = (), apart: Sequence[Pool] = (), keeping: Pool | None = None
    ) -> None:
        self.pool, self.keeping = pool, keeping or pool
        self.cells, self._apart = tuple(cells), tuple(apart)

    def find_absent(self, error: Exception) -> Cell:
        """Returns the place that an error is about; where it names no cell, the first one stands for all of them."""
        name = find_absent_cell(error) if isinstance(error, psycopg.Error) else None
        return next((cell for cell in self.cells if cell.name == name), (*self.cells, self.pool.place)[0])

    async def read(self, query: str, parameters: Parameters) -> list[list[Row]]:
        """Returns the rows of each cell; of home, a single list. Raises psycopg.Error."""
        if not self.cells:
            return [_name_columns(*await self._read_plain(number_parameters(query), parameters))]
        if changes(query) or (read := await self._read_joint(query, parameters)) is None:
            return await asyncio.gather(*(_read_apart(pool, query, parameters) for pool in self._apart))
        (*names, _), rows = read
        lists: list[list[Row]] = [[] for _ in self.cells]
        for row in rows:
            lists[row[-1]].append(dict(zip(names, row, strict=False)))  # without the last column
        return lists

    async def read_merged(self, query: str, parameters: Parameters, merging: Merging) -> list[Row]:
        """Returns the rows of all cells, merged. Raises psycopg.Error."""
        if self.cells and (read := await self._read_joint(query, parameters, merging)):
            return _name_columns(*read)
        return merging.merge(await self.read(query, parameters), parameters)

    def of(self, cell: Cell) -> "Source":
        """Returns the source of one of the cells."""
        return Source(self.pool, [cell], [self._apart[self.cells.index(cell)]], self.keeping) if self.cells else self

    async def _read_plain(self, statement: NumberedStatement, parameters: Parameters) -> Rows:
        async with self.pool.connection() as connection:
            return await _execute(connection, statement, parameters)

    async def _read_joint(self, query: str, parameters: Parameters, merging: Merging | None = None) -> Rows | None:
        """Returns the rows of all cells, or None where Citus has placed them. Raises CellTaken, psycopg.Error."""
        statement = join_cells(query, self.cells, merging, parameters)
        pool = self.keeping if statement.keeps_plan else self.pool
        if pool.is_placing:
            return None
        async with pool.connection() as connection:
            if pool.is_placing:  # as only a connection can tell
                return None
            try:
                return await _execute(connection, statement, parameters, prepare=len(self.cells) <= MOST_PREPARED)
            except (DivisionByZero, InvalidSchemaName, UndefinedTable) as error:
                await _find_taken(connection, self.cells)
                if isinstance(error, DivisionByZero):  # and the command has ended meanwhile
                    raise CellTaken("a cell was being divided or moved") from None
                raise


class Sources:
    """All of them: home's, and those of the cells, whose pools are `apart`; a single cell is at home."""

    def __init__(self, home: Pool, apart: Sequence[Pool]) -> None:
        self.home, self.apart = Source(home), tuple(apart)
        self._cells = [pool.place for pool in apart if pool.place.number is not None]
        self.of_cells = [
            self._make_source(url, apart) for url in dict.fromkeys(cell.database_url for cell in self._cells)
        ]

    def _make_source(self, url: str, apart: Sequence[Pool]) -> Source:
        place, here = Cell(url, "", cells=len(self._cells)), [pool for pool in apart if pool.place.database_url == url]
        at_home = url == self.home.pool.place.database_url
        pool = self.home.pool if at_home else Pool(place, cells=len(self._cells))
        keeping = Pool(place, cells=len(self._cells), keeps_plans=True)
        return Source(pool, [pool.place for pool in here], here, keeping)

    @property
    def with_customers(self) -> Sequence[Source]:
        """The sources of all customers."""
        return self.of_cells or [self.home]

    def find(self, customer_id: str) -> Source:
        """Returns the source of a customer's cell."""
        if not self._cells:
            return self.home
        cell = self._cells[cell_of(customer_id, len(self._cells))]
        return next(source for source in self.of_cells if cell in source.cells).of(cell)

    def in_order(self, lists: Sequence[Sequence[list[Row]]]) -> list[list[Row]]:
        """Returns the lists of the cells, as the sources have read them, in the order of the cells."""
        if not self._cells:
            return list(lists[0])
        by_cell = {
            cell: rows
            for source, theirs in zip(self.of_cells, lists, strict=True)
            for cell, rows in zip(source.cells, theirs, strict=True)
        }
        return [by_cell[cell] for cell in self._cells]

    async def open(self) -> None:
        """Open all pools. Does not wait: Postgres may be away."""
        for pool in self._list_pools():
            await pool.open()

    async def close(self) -> None:
        """Close all pools."""
        await asyncio.gather(*(pool.close(CLOSE_SECONDS) for pool in self._list_pools()))

    def _list_pools(self) -> set[Pool]:
        of_sources = (pool for source in self.of_cells for pool in (source.pool, source.keeping))
        return {self.home.pool, *of_sources, *self.apart}


async def _execute(
    connection: Connection, statement: NumberedStatement, parameters: Parameters, *, prepare: bool = True
) -> Rows:
    cursor = AsyncRawCursor(connection)
    values = statement.values(parameters)
    try:
        await cursor.execute(statement.text, values, prepare=prepare)
    except FeatureNotSupported:  # a column has another type since the statement was prepared
        await cursor.execute(statement.text, values, prepare=False)
        rows = await cursor.fetchall()
        await connection.close()  # with all that is prepared there
    else:
        rows = await cursor.fetchall()
    return [column.name for column in cursor.description or ()], rows


async def _read_apart(pool: Pool, query: str, parameters: Parameters) -> list[Row]:
    """The rows of a cell, over a connection that leads to it alone: another one if the first ended or the cell moved
    meanwhile."""
    with naming(pool.place):
        try:
            return await _read_once(pool, query, parameters)
        except Moved:
            return await _read_once(pool, query, parameters)


async def _read_once(pool: Pool, query: str, parameters: Parameters) -> list[Row]:
    """Raises Moved, psycopg.Error."""
    async with pool.connection() as connection:
        try:
            rows = await _execute(connection, number_parameters(query), parameters)
        except psycopg.Error as error:
            if not changes(query) and await pool.has_lost(connection):
                raise Moved(pool.place.schema or "") from error
            raise
        await pool.look_again(connection)
    return _name_columns(*rows)


def _name_columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    return [dict(zip(names, row, strict=True)) for row in rows]


async def _find_taken(connection: Connection, cells: Sequence[Cell]) -> None:
    """Raises CellTaken, with the name of the cell, if the tables of one are another's, or not there."""
    for cell in cells:
        query = SQL("SELECT number, cells FROM {}").format(Identifier(cell.schema or "", "installation"))
        try:
            row = await (await connection.execute(query)).fetchone()
        except (InvalidSchemaName, UndefinedTable):
            row = None
        with naming(cell):
            presence.check_numbers(cell, row is not None, *(row or (None, None)))
