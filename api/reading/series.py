"""One event over time, and its commonest property values."""

from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Annotated, NamedTuple

from msgspec import Meta, Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.etags import has
from api.reading.common import Count, Time, account_of, answer, fetch
from api.reading.etags import not_modified, tag_of_totals
from api.reading.intervals import Range, range_of
from api.reading.query import accepts
from workers.store import sql

SCALARS = ("string", "number", "boolean")
SAMPLED = 1000  # events, the latest of a name


class Point(Struct):
    """An interval, by its start: the number of events, and of customers who sent them."""

    at: Time
    count: Count
    customers: Count


class Value(Struct):
    """How often a property had a value."""

    value: Annotated[Raw, Meta(extra_json_schema={"anyOf": [{"type": scalar} for scalar in SCALARS]})]
    count: Annotated[int, Meta(ge=1)]


class Property(Struct):
    """A property and its commonest values, the most frequent first."""

    name: str
    values: list[Value]


class Series(Struct):
    """An event over time, oldest first and without gaps, and its recent properties."""

    event: str
    series: list[Point]
    properties: list[Property]


class Sample(NamedTuple):
    """The properties of so many of the latest events."""

    events: int
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
    await require_event(request, account_id, event)
    sample = await read_sample(request, account_id, event)
    return Series(event, await read_series(request, account_id, event, period), sample.properties)


async def require_event(request: Request, account_id: int, event: str) -> None:
    """Raises Refused, event_not_found, for a name that the account has never sent."""
    parameters = {"account_id": account_id, "event": event}
    if "\0" in event or not (await fetch(request, sql("knows_event"), parameters))[0]["known"]:
        raise Refused("event_not_found")


async def read_series(request: Request, account_id: int, event: str, period: Range) -> list[Point]:
    """An event's points, one for each interval of the range; 0 without events."""
    query = "event_series_by_hour" if period.interval == "hour" else "event_series"
    rows = await fetch(request, sql(query), {"account_id": account_id, "event": event, **period._asdict()})
    points: dict[datetime, Point] = {row["at"]: Point(**row) for row in rows}
    return [points.get(at) or Point(at, 0, 0) for at in period.starts]


async def read_sample(request: Request, account_id: int, event: str) -> Sample:
    """The latest events of a name: how many, at most SAMPLED, and their most common values."""
    parameters = {"account_id": account_id, "event": event, "limit": SAMPLED}
    rows = await fetch(request, sql("event_values"), parameters)
    properties = [
        Property(name, [Value(Raw(row["value"].encode()), row["count"]) for row in values])
        for name, values in groupby(rows, itemgetter("name"))
    ]
    return Sample(rows[0]["sampled"] if rows else 0, properties)
