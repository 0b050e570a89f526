"""Work that changes several rows in one transaction: done in a thread, on a connection of its own."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.errors import Refused
from workers.logs import first_line
from workers.store import Connection, connect
from workers.store.faults import is_unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


async def in_database(request: Request, work: Callable[[Connection], T]) -> T:
    """Returns what `work` returns. Raises Refused, store_unavailable."""
    database_url = request.app.state.settings.database_url

    def run() -> T:
        with connect(database_url) as connection:
            return work(connection)

    with refusing():
        return await run_in_threadpool(run)


@contextmanager
def refusing() -> Iterator[None]:
    """Raises Refused, store_unavailable, when Postgres and not the data is the trouble: it is away, or only reads."""
    try:
        yield
    except psycopg.Error as error:
        if not is_unavailable(error):
            raise
        log.warning("Postgres can't do it now: %s", first_line(error))
        raise Refused("store_unavailable") from None
