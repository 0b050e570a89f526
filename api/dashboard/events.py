"""The pages of events: all names that an account sends, what producers should mend, and one name in detail."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.charts import Series, bar, spark, stacked
from api.dashboard.labels import RECOGNISED_WORDS, SPANS
from api.dashboard.page import page, render
from api.dashboard.remedies import troubles
from api.dashboard.session import Session
from api.dashboard.setup.mappings import ROLE_WORDS
from api.dashboard.timeline import text_of
from api.errors import Refused
from api.reading import query
from api.reading.analytics import CountedEvent, read_events
from api.reading.common import fetch
from api.reading.intervals import last
from api.reading.series import Point, Property, read_event
from scoring.events import RECOGNISED
from workers.store import sql

DAYS = 30
NAMES = 50  # on a page
KINDS = {"": "All", "recognised": "Recognised", "custom": "Your own"}
LONGEST_VALUE = 200  # characters


class Named(NamedTuple):
    """An event's name, with a line of its last days."""

    event: CountedEvent
    drawn: Markup


class Valued(NamedTuple):
    """A property's value as text, and how often it came."""

    text: str
    times: int


@page
async def list_events(request: Request, session: Session) -> Response:
    """`GET /events`: the most frequent names first, NAMES on a page."""
    everything = await read_events(request, session.account_id)
    sent = {one.event for one in everything}
    wanted = request.query_params.get("q", "").strip().lower()
    kind = query.choice(request, "kind", list(KINDS), "") or ""
    chosen = [one for one in everything if wanted in one.event.lower() and kind in ("", one.kind)]
    first = (_number(request) - 1) * NAMES
    shown = chosen[first : first + NAMES]
    return render(
        request,
        "events.html",
        session,
        names=await _with_lines(request, session.account_id, shown),
        chosen=len(chosen),
        first=first,
        following=str(first // NAMES + 2) if first + NAMES < len(chosen) else None,
        all_names=len(everything),
        counted=await fetch(request, sql("counted_at"), {}),
        missing=[name for name in RECOGNISED if name not in sent],
        wanted=wanted,
        kind=kind,
        kinds=KINDS,
        troubles=await troubles(request, session.account_id),
    )


@page
async def show_event(request: Request, session: Session) -> Response:
    """`GET /events/{name}`."""
    name = request.path_params["name"]
    span = query.choice(request, "span", list(SPANS), "30") or "30"
    found = await read_event(request, session.account_id, name, last(int(span), "day", datetime.now(UTC)))
    counted = next((one for one in await read_events(request, session.account_id) if one.event == name), None)
    if counted is None:
        raise Refused("event_not_found")
    return render(
        request,
        "event.html",
        session,
        event=counted,
        chart=_columns(name, found.series),
        series=found.series[::-1],
        total=sum(point.count for point in found.series),
        recognised=RECOGNISED_WORDS,
        roles=ROLE_WORDS,
        properties=[(one.name, _values(one)) for one in found.properties],
        bar=bar,
        span=span,
        spans=SPANS,
    )


def _number(request: Request) -> int:
    given = request.query_params.get("page", "1")
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:6]) <= 10_000):
        raise Refused("invalid_parameter", "`page` must be a whole number from 1 on.")
    return int(given[:6])


async def _with_lines(request: Request, account_id: int, events: list[CountedEvent]) -> list[Named]:
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    parameters = {"account_id": account_id, "since": days[0], "until": today, "events": [one.event for one in events]}
    rows = await fetch(request, sql("daily_counts"), parameters)
    counts = {(row["event"], row["day"]): row["n"] for row in rows}
    named = []
    for one in events:
        values = [counts.get((one.event, day), 0) for day in days]
        words = f"{sum(values):,} in {DAYS} days, {values[-1]:,} of them today"
        named.append(Named(one, spark(words, values)))
    return named


def _columns(name: str, points: list[Point]) -> Markup:
    days = [point.at.date() for point in points]
    return stacked(f"{name} by day", days, [Series("Events", "fill-accent", [point.count for point in points])])


def _values(one: Property) -> list[Valued]:
    decoded = [(msgspec.json.decode(value.value), value.count) for value in one.values]
    return [Valued(text_of(value)[:LONGEST_VALUE], count) for value, count in decoded]
