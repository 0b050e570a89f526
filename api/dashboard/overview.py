"""The overview: who is about to leave, why, what to do, and whether that can be trusted."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.customers import Wanted, fetch, list_query
from api.dashboard.charts import Series, legend, stacked
from api.dashboard.health import checks, worst
from api.dashboard.honesty import honesty
from api.dashboard.levels import GROUPS, count_groups
from api.dashboard.meanings import STRATEGIES
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.levels import Day, read_levels
from api.model import read_model
from workers.store import sql

URGENT = 8  # customers
RISEN = 5
AMONG = 1000  # the riskiest
LEAST = 0.05  # that a risk has to rise to be worth a line
TILES = ("critical", "high", "medium", "low", "lapsed")
CHARTED = ("critical", "high", "medium")
WEEK = 7


@page
async def overview(request: Request, session: Session) -> Response:
    """`GET /`."""
    account_id = session.account_id
    counts = await count_groups(request, account_id)
    found = await checks(request, account_id)
    context: dict[str, Any] = {"counts": counts, "checks": found, "worst": worst(found), "address": address(request)}
    if not counts["all"]:
        return render(request, "welcome.html", session, **context)
    urgent, risen, days, model = await asyncio.gather(
        fetch(request, *list_query(account_id, Wanted(state="here"), limit=URGENT)),
        fetch(request, sql("risen"), {"account_id": account_id, "among": AMONG, "least": LEAST, "limit": RISEN}),
        read_levels(request, account_id),
        read_model(request, account_id),
    )
    return render(
        request,
        "overview.html",
        session,
        **context,
        urgent=[row for row in urgent if row["level"] not in (None, "low")],
        risen=risen,
        tiles=_tiles(counts, days),
        groups=GROUPS,
        chart=_chart(days),
        strategies=STRATEGIES,
        horizon_days=model.horizon_days,
        honesty=honesty(model),
    )


def _tiles(counts: Mapping[str, int], days: Sequence[Day]) -> list[tuple[str, int, int | None]]:
    """For each level: its name, how many are there now, and how many more than a week ago, where that is known."""
    before = days[-1 - WEEK] if len(days) > WEEK else None
    return [(name, counts[name], counts[name] - getattr(before, name) if before else None) for name in TILES]


def _chart(days: Sequence[Day]) -> Mapping[str, Markup] | None:
    if len(days) < 2:
        return None
    series = [Series(name.capitalize(), f"fill-{name}", [getattr(day, name) for day in days]) for name in CHARTED]
    title = "Customers at medium risk and above, by day"
    drawn: dict[str, Any] = {"drawing": stacked(title, [day.at.date() for day in days], series)}
    return {**drawn, "legend": legend(series)}
