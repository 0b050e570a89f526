"""The web process's connections to Postgres."""

import asyncio
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from workers.cells import Cell
from workers.settings import Settings
from workers.store import sessions
from workers.store.sessions import TransactionPooling

POOL_SIZE = 8
CELL_POOL_SIZE = 4  # of each of several cells
POOL_WAIT_SECONDS = 2.0
STATEMENT_TIMEOUT_SECONDS = 25  # somebody waits for the answer


def make_pools(settings: Settings) -> tuple["Pool", list["Pool"]]:
    """Returns the pool of home, and those of the cells in their order: the same one where there is a single cell."""
    home = Pool(settings.home)
    cells = settings.all_cells if settings.cells > 1 else ()
    return home, [Pool(cell, CELL_POOL_SIZE) for cell in cells] or [home]


class Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    """Connections that are set up as workers' are, and looked at before they are used: after a restart of Postgres they
    are all dead. A request that finds none opens one at once, and doesn't wait for an attempt that an outage put off.
    `refusal` says why this server can't be used at all."""

    def __init__(self, place: Cell, size: int = POOL_SIZE) -> None:
        self._database_url, self._schema = place.database_url, place.schema
        self.refusal: str | None = None
        super().__init__(
            place.database_url,
            min_size=1,
            max_size=size,
            timeout=POOL_WAIT_SECONDS,
            reconnect_timeout=POOL_WAIT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            configure=self._set_up,
            kwargs={**sessions.client_options(place.database_url), "autocommit": True},
            open=False,
        )

    async def _set_up(self, connection: AsyncConnection[Any]) -> None:
        query, parameters = sessions.settings_query({"statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s"})
        row = await (await connection.execute(query, parameters)).fetchone()
        if row and row[0] != connection.info.backend_pid:
            try:
                await asyncio.to_thread(sessions.refuse_transaction_pooling, self._database_url)
            except TransactionPooling as error:
                self.refusal = str(error)
                raise
        if self._schema:
            await connection.execute(*sessions.path_query(self._schema))
        self.refusal = None
