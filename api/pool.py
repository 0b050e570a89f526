"""The web process's connections to Postgres."""

import asyncio
import select
import time
from collections import deque
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import UndefinedTable
from psycopg_pool import AsyncConnectionPool

from api.connections import PooledConnection
from workers.cells import Cell
from workers.logs import first_line
from workers.settings import Settings
from workers.store import presence, sessions, sql
from workers.store.nodes import Moved
from workers.store.presence import CellTaken
from workers.store.sessions import TransactionPooling

POOL_SIZE = 8
CELL_POOL_SIZE = 4  # of each of several cells
POOL_WAIT_SECONDS = 2.0
CLOSE_SECONDS = 2.0
PREPARED_CELLS = 200  # prepared statements of a connection, times the cells that each reads (170 KB a list); 100 of one
READING = {
    "statement_timeout": "25s",  # a person waits for the answer
    "work_mem": "16MB",  # lists of 100,000 customers are hashed and sorted in memory
}
PLAN_ANEW = {"plan_cache_mode": "force_custom_plan"}  # a plan for any range or prefix is a bad one for most; see KEYS
KEEP_PLANS = {"plan_cache_mode": "force_generic_plan"}


def make_pools(settings: Settings) -> tuple["Pool", list["Pool"]]:
    """Returns the pool of home, and those of the cells in their order: the same one where there is a single cell."""
    home = Pool(settings.home, cells=settings.cells if settings.cells > 1 else 0)
    return home, make_cell_pools(settings) if settings.cells > 1 else [home]


def make_cell_pools(settings: Settings) -> list["Pool"]:
    """Returns a pool for each of several cells, for queries that go to one cell alone."""
    return [Pool(cell, CELL_POOL_SIZE) for cell in settings.all_cells]


class LatestFirst(deque[PooledConnection]):
    """Idle connections. The one that was used last is used next, so few connections prepare statements, and most
    statements find a connection that has prepared them."""

    def append(self, connection: PooledConnection) -> None:
        """Put a connection to the end from which it is taken."""
        self.appendleft(connection)


class Pool(AsyncConnectionPool[PooledConnection]):
    """Connections that are set up as workers' are, and looked at before they are used: after a restart of Postgres they
    are all dead, and after a move of a placed cell they lead to the wrong node. A request that finds none opens one at
    once, and doesn't wait for an attempt that an outage put off. `refusal` says why this server can't be used at all,
    `trouble` why a cell can't now; `is_placing`, that Citus may have placed the schemas there. `cells` is how many
    cells are read at once over a connection, besides home. Plans are made anew each time, or kept where `keeps_plans`.
    """

    def __init__(self, place: Cell, size: int = POOL_SIZE, *, cells: int = 0, keeps_plans: bool = False) -> None:
        self.place, self._cells = place, cells
        self._settings = READING | (KEEP_PLANS if keeps_plans else PLAN_ANEW)
        self.is_placing = False
        self.refusal: str | None = None
        self.trouble: str | None = None
        options = {**sessions.client_options(place.database_url), "autocommit": True}
        super().__init__(
            place.database_url,
            connection_class=PooledConnection,
            min_size=0 if place.schema else 1,
            max_size=size,
            timeout=POOL_WAIT_SECONDS,
            reconnect_timeout=POOL_WAIT_SECONDS,
            kwargs={**options, "place": place, "set_up": self._set_up, "note": self._note},
            open=False,
        )
        self._pool = LatestFirst()

    async def getconn(self, timeout: float | None = None) -> PooledConnection:  # noqa: ASYNC109 (psycopg's own)
        """Returns a connection that can be used; those that can't are replaced without a pause, which psycopg's own
        check would make. Raises CellTaken, psycopg.OperationalError."""
        give_up, refused = time.monotonic() + (self.timeout if timeout is None else timeout), 0
        while True:
            connection = await super().getconn(max(give_up - time.monotonic(), 0.0))
            try:
                await self._look_at(connection)
                return connection
            except psycopg.Error as error:
                await connection.close()  # or it would stay in the pool
                await self.putconn(connection)
                refused += 1
                if isinstance(error, CellTaken) or refused > self.max_size:
                    raise
            except BaseException:
                await self.putconn(connection)
                raise

    def _note(self, error: psycopg.Error) -> None:
        if self.place.number is not None:
            self.trouble = f"Postgres doesn't answer: {first_line(error)}"

    async def _set_up(self, connection: PooledConnection) -> None:
        query, parameters = sessions.settings_query(self._settings)
        row = await (await connection.execute(query, parameters)).fetchone()
        if row and row[0] != connection.info.backend_pid:
            try:
                await asyncio.to_thread(sessions.refuse_transaction_pooling, self.place.database_url)
            except TransactionPooling as error:
                self.refusal = str(error)
                raise
        if self.place.schema:
            row = await (await connection.execute(*sessions.path_query(self.place.schema))).fetchone()
            connection.may_be_placed = bool(row and row[1])
        elif self.place.is_single:
            await self._enter(connection)
        elif self._cells:
            row = await (await connection.execute(sql("is_placing"))).fetchone()
            self.is_placing = bool(row and row[0])
        if not self.place.schema:
            await connection.execute(sql("keep_memory"))
        connection.prepared_max = PREPARED_CELLS // max(self._cells, 2)
        self.refusal = None

    async def _enter(self, connection: PooledConnection) -> None:
        """Raises CellTaken if the single cell has left home, or is about to."""
        row = await (await connection.execute(*presence.entry_query(self.place, "pages"))).fetchone()
        presence.check_entry(self.place, bool(row and row[0]))
        try:
            row = await (await connection.execute(sql("count_cells"))).fetchone()
            presence.check_single(row[0] if row else 0)
        except UndefinedTable:  # there are no tables yet
            return

    async def _look_at(self, connection: PooledConnection) -> None:
        """Raises psycopg.Error unless the connection can be used."""
        await self._check_node(connection)
        if self.place.number is not None:
            await self._check_numbers(connection)
        elif _has_news(connection):
            await self.check_connection(connection)

    async def look_again(self, connection: PooledConnection) -> None:
        """Raises CellTaken if the cell may have been divided while a query waited: then it has read only a half. Raises
        Moved."""
        if self.place.number is not None:
            await self._check_numbers(connection)

    async def has_lost(self, connection: PooledConnection) -> bool:
        """Returns True if a query may have failed because its connection ended, or the cell has moved meanwhile."""
        try:
            await self._check_node(connection)
        except psycopg.Error:
            return True
        return connection.closed

    async def _check_numbers(self, connection: PooledConnection) -> None:
        """Raises CellTaken if the tables are another cell's by now, Moved if they have just left this node."""
        try:
            row = await (await connection.execute(*presence.numbers_query(self.place))).fetchone()
        except UndefinedTable:
            row = None
        try:
            presence.check_numbers(self.place, *(row or presence.NO_TABLES))
        except CellTaken as error:
            await self._check_node(connection)
            self.trouble = str(error)
            await connection.close()  # or it would stay in the pool
            raise
        self.trouble = None

    async def _check_node(self, connection: PooledConnection) -> None:
        """Raises Moved if another node holds the cell."""
        if (node := await connection.find_node(self.place)) and not node.is_here:
            raise Moved(self.place.schema or "")


def _has_news(connection: AsyncConnection[Any]) -> bool:
    """Returns whether the server has sent something to an idle connection: mostly, that it ends."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
