"""Work that changes several rows in one transaction: done in a thread, on a connection of its own."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.errors import Refused, explain_absence
from workers.cells import Cell, cell_of
from workers.logs import first_line
from workers.settings import Settings
from workers.store import Connection, presence
from workers.store.faults import is_unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


async def in_database(request: Request, work: Callable[[Connection], T], customer_id: str | None = None) -> T:
    """Returns what `work` returns, with a connection to home or to the customer's cell. Raises Refused,
    store_unavailable."""
    settings: Settings = request.app.state.settings
    place = settings.home
    if customer_id is not None:
        place = settings.all_cells[cell_of(customer_id, settings.cells)]

    def run() -> T:
        with presence.enter(place) as connection:
            return work(connection)

    with refusing(place):
        return await run_in_threadpool(run)


async def in_thread(work: Callable[[], T]) -> T:
    """Returns what `work` returns, which opens connections of its own. Raises Refused, store_unavailable."""
    with refusing():
        return await run_in_threadpool(work)


@contextmanager
def refusing(place: Cell | None = None) -> Iterator[None]:
    """Raises Refused, store_unavailable, when Postgres and not the data is the trouble: it is away, or only reads.
    `place`: the one that the work is done in."""
    try:
        yield
    except psycopg.Error as error:
        if not is_unavailable(error):
            raise
        log.warning("Postgres can't do it now: %s", first_line(error))
        raise Refused("store_unavailable", explain_absence(place)) from None
