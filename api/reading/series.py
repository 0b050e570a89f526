"""One event over time, and its commonest property values."""

from datetime import datetime

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.etags import has
from api.reading.common import Count, Time, account_of, answer, fetch_all, fetch_merged
from api.reading.etags import not_modified, tag_of_totals
from api.reading.intervals import Range, range_of
from api.reading.query import accepts
from api.reading.sampling import EventSample, Property, read_sample
from api.reading.statements import Sums
from workers.store import sql

SERIES = {"hour": "event_series_by_hour", "day": "event_series_by_day"}  # by interval; others are added up
BY_TIME = Sums(("at",), ("count", "customers"))


class Point(Struct):
    """An interval, by its start: the number of events, and of customers who sent them."""

    at: Time
    count: Count
    customers: Count


class Series(Struct):
    """An event over time, oldest first and without gaps, and its recent properties."""

    event: str
    series: list[Point]
    properties: list[Property]


@accepts("from", "to", "interval")
async def show_event(request: Request) -> Response:
    """`GET /api/v1/analytics/events/{name}`: an event over time."""
    account_id = await account_of(request)
    period = range_of(request)
    tag = await tag_of_totals(request, account_id)
    if has(request, tag):
        return not_modified(tag)
    return answer(await read_event(request, account_id, request.path_params["name"], period), {"ETag": tag})


async def read_event(request: Request, account_id: int, event: str, period: Range) -> Series:
    """An event over time. Raises Refused: event_not_found, store_unavailable."""
    sample = None if "\0" in event else await read_sample(request, account_id, event)
    if sample is None or not sample.events:
        await require_event(request, account_id, event)
        sample = EventSample(0, [])
    return Series(event, await read_series(request, account_id, event, period), sample.properties)


async def require_event(request: Request, account_id: int, event: str) -> None:
    """Raises Refused, event_not_found, for a name that the account has never sent."""
    parameters = {"account_id": account_id, "event": event}
    if "\0" in event or not any(row["known"] for (row,) in await fetch_all(request, sql("knows_event"), parameters)):
        raise Refused("event_not_found")


async def read_series(request: Request, account_id: int, event: str, period: Range) -> list[Point]:
    """An event's points, one for each interval of the range; 0 without events."""
    query = SERIES.get(period.interval, "event_series")
    parameters = {"account_id": account_id, "event": event, **period._asdict()}
    rows = await fetch_merged(request, sql(query), parameters, BY_TIME)
    points: dict[datetime, Point] = {row["at"]: Point(**row) for row in rows}
    return [points.get(at) or Point(at, 0, 0) for at in period.starts]
