"""The web process's connections to Postgres."""

import asyncio
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from workers.store import sessions
from workers.store.sessions import TransactionPooling

POOL_SIZE = 8
POOL_WAIT_SECONDS = 2.0
STATEMENT_TIMEOUT_SECONDS = 25  # somebody waits for the answer


class Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    """Connections that are set up as workers' are, and looked at before they are used: after a restart of Postgres they
    are all dead. A request that finds none opens one at once, and doesn't wait for an attempt that an outage put off.
    `refusal` says why this server can't be used at all."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.refusal: str | None = None
        super().__init__(
            database_url,
            min_size=1,
            max_size=POOL_SIZE,
            timeout=POOL_WAIT_SECONDS,
            reconnect_timeout=POOL_WAIT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            configure=self._set_up,
            kwargs={**sessions.client_options(database_url), "autocommit": True},
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
        self.refusal = None
