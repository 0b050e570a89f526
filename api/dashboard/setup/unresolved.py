"""The overview's notice of events that wait for the address of their user id."""

from collections.abc import Iterator
from typing import Final

from starlette.requests import Request

from api.dashboard.filters import count
from api.dashboard.health import Check
from api.dashboard.zones import local
from api.reading.common import fetch_all
from api.reading.merging import add_up
from workers.store import sql

KEPT_DAYS: Final = 35


async def check_unresolved(request: Request, account_id: int) -> Iterator[Check]:
    """Returns a line if events wait. Raises Refused, store_unavailable."""
    (waiting,) = add_up(await fetch_all(request, sql("count_unresolved"), {"account_id": account_id}), since=min)
    if not waiting["events"]:
        return iter(())
    since = local(waiting["since"])
    text = (
        f"{count(waiting['events'], 'event')} of {count(waiting['users'], 'user id')} without an address, the first "
        f"since {since:%-d %b}. Send `identify` with their `customer_email`; they wait for {KEPT_DAYS} days."
    )
    return iter([Check("warn", "Events wait for an address", text)])
