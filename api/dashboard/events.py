"""The pages of events: all names an account sends, problems to fix, and one name in detail."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.charts import Layer, bar, spark, stacked
from api.dashboard.labels import RECOGNISED_WORDS, SPANS
from api.dashboard.page import address, page, render
from api.dashboard.remedies import find_problems
from api.dashboard.session import Session
from api.dashboard.setup.mappings import ROLE_WORDS
from api.dashboard.timeline import text_of
from api.errors import Refused
from api.reading import query
from api.reading.analytics import CountedEvent, read_events
from api.reading.common import fetch_all, fetch_merged
from api.reading.intervals import last
from api.reading.merging import add_up
from api.reading.sampling import Property, read_sample
from api.reading.series import Point, read_series, require_event
from api.reading.statements import Sums
from scoring.events import RECOGNISED
from workers.store import sql

DAYS = 30
NAMES = 50  # on a page
MOST_PAGES = 10_000
BY_DAY = Sums(("event", "day"), ("n",))
KINDS = {"": "All", "recognised": "Standard", "custom": "Your own"}
LONGEST_VALUE = 200  # characters


class EventRow(NamedTuple):
    """A row of the list: an event, and a sparkline of its last days."""

    event: CountedEvent
    spark: Markup


class ValueCount(NamedTuple):
    """A property's value as text, and how often it came."""

    text: str
    times: int


@page
async def list_events(request: Request, session: Session) -> Response:
    """`GET /events`: the most frequent names first, NAMES on a page."""
    events = await read_events(request, session.account_id)
    sent = {event.event for event in events}
    search = request.query_params.get("q", "").strip().lower()
    kind = query.choice(request, "kind", list(KINDS), "") or ""
    matching = [event for event in events if search in event.event.lower() and kind in ("", event.kind)]
    first = (_page_number(request) - 1) * NAMES
    shown = matching[first : first + NAMES]
    return render(
        request,
        "events.html",
        session,
        address=address(request),
        rows=await _draw_rows(request, session.account_id, shown),
        matching=len(matching),
        first=first,
        following=str(first // NAMES + 2) if first + NAMES < len(matching) else None,
        all_names=len(events),
        is_counting=not events and await _has_customers(request, session.account_id),
        counted=add_up(await fetch_all(request, sql("counted_at"), {}), at=min),
        missing=[name for name in RECOGNISED if name not in sent],
        search=search,
        kind=kind,
        kinds=KINDS,
        problems=await find_problems(request, session.account_id),
    )


@page
async def show_event(request: Request, session: Session) -> Response:
    """`GET /events/{name}`."""
    name = request.path_params["name"]
    span = query.choice(request, "span", list(SPANS), "30") or "30"
    await require_event(request, session.account_id, name)
    points = await read_series(request, session.account_id, name, last(int(span), "day", datetime.now(UTC)))
    sample = await read_sample(request, session.account_id, name)
    events = await read_events(request, session.account_id)
    counted = next((event for event in events if event.event == name), None)
    if counted is None:
        raise Refused("event_not_found")
    return render(
        request,
        "event.html",
        session,
        event=counted,
        chart=_draw_days(name, points),
        series=points[::-1],
        total=sum(point.count for point in points),
        recognised=RECOGNISED_WORDS,
        roles=ROLE_WORDS,
        properties=[(prop.name, _count_values(prop)) for prop in sample.properties],
        sampled=sample.events,
        bar=bar,
        span=span,
        spans=SPANS,
    )


async def _has_customers(request: Request, account_id: int) -> bool:
    return any(await fetch_all(request, sql("any_customer"), {"account_id": account_id}))


def _page_number(request: Request) -> int:
    return query.whole_number(request, "page", MOST_PAGES) or 1


async def _draw_rows(request: Request, account_id: int, events: list[CountedEvent]) -> list[EventRow]:
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    parameters = {
        "account_id": account_id,
        "since": days[0],
        "until": today,
        "events": [event.event for event in events],
    }
    rows = await fetch_merged(request, sql("daily_counts"), parameters, BY_DAY)
    counts = {(row["event"], row["day"]): row["n"] for row in rows}
    event_rows = []
    for event in events:
        values = [counts.get((event.event, day), 0) for day in days]
        words = f"{sum(values):,} in {DAYS} days, {values[-1]:,} of them today"
        event_rows.append(EventRow(event, spark(words, values)))
    return event_rows


def _draw_days(name: str, points: list[Point]) -> Markup:
    days = [point.at.date() for point in points]
    return stacked(f"{name} by day", days, [Layer("Events", "fill-accent", [point.count for point in points])])


def _count_values(prop: Property) -> list[ValueCount]:
    decoded = [(msgspec.json.decode(value.value), value.count) for value in prop.values]
    return [ValueCount(text_of(value)[:LONGEST_VALUE], count) for value, count in decoded]
