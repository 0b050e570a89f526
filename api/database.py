"""Work that changes several rows in one transaction: done in a thread, on a connection of its own."""

from collections.abc import Callable
from typing import TypeVar

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.errors import Refused
from workers.store import Connection, connect

T = TypeVar("T")


async def in_database(request: Request, work: Callable[[Connection], T]) -> T:
    """Returns what `work` returns. Raises Refused, store_unavailable."""
    database_url = request.app.state.settings.database_url

    def run() -> T:
        with connect(database_url) as connection:
            return work(connection)

    try:
        return await run_in_threadpool(run)
    except psycopg.OperationalError:
        raise Refused("store_unavailable") from None
