"""The overview: who is about to leave, why, what to do, and whether that can be trusted."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.accuracy import honesty
from api.dashboard.charts import Series, legend, stacked
from api.dashboard.health import checks, worst
from api.dashboard.labels import STRATEGIES
from api.dashboard.levels import GROUPS
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.dashboard.setup.use import NOT_UNDERSTOOD, ask_for_use
from api.reading.common import fetch
from api.reading.levels import Day, read_levels
from api.reading.model import read_model
from workers.store import sql

URGENT = 8  # customers
RISEN = 5
AMONG = 500  # the riskiest
LEAST = 0.05  # that a risk has to rise to be worth a line
TILES = ("critical", "high", "medium", "low", "lapsed")
CHARTED = ("critical", "high", "medium")
WEEK = 7
NOBODY = Day(at=datetime.min.replace(tzinfo=UTC), low=0, medium=0, high=0, critical=0, lapsed=0)


@page
async def overview(request: Request, session: Session) -> Response:
    """`GET /`."""
    account_id = session.account_id
    found, known, urgent, risen, days, model = await asyncio.gather(
        checks(request, account_id),
        fetch(request, sql("any_customer"), {"account_id": account_id}),
        fetch(request, sql("urgent"), {"account_id": account_id, "limit": URGENT}),
        fetch(request, sql("risen"), {"account_id": account_id, "among": AMONG, "least": LEAST, "limit": RISEN}),
        read_levels(request, account_id),
        read_model(request, account_id),
    )
    use = await ask_for_use(request, account_id)
    if use is not None:
        found = [*found, NOT_UNDERSTOOD]
    context: dict[str, Any] = {"checks": found, "worst": worst(found)}
    if not known:
        return render(request, "welcome.html", session, **context, address=address(request))
    return render(
        request,
        "overview.html",
        session,
        **context,
        counts=days[-1] if days else NOBODY,
        use=use,
        urgent=urgent,
        risen=risen,
        tiles=_tiles(days),
        groups=GROUPS,
        chart=_chart(days),
        strategies=STRATEGIES,
        horizon_days=model.horizon_days,
        honesty=honesty(model),
    )


def _tiles(days: Sequence[Day]) -> list[tuple[str, int, int | None]]:
    """For each level: its name, how many are there now, and how many more than a week ago, where that is known."""
    now = days[-1] if days else NOBODY
    before = days[-1 - WEEK] if len(days) > WEEK else None
    return [
        (name, getattr(now, name), getattr(now, name) - getattr(before, name) if before else None) for name in TILES
    ]


def _chart(days: Sequence[Day]) -> Mapping[str, Markup] | None:
    if len(days) < 2:
        return None
    series = [Series(name.capitalize(), f"fill-{name}", [getattr(day, name) for day in days]) for name in CHARTED]
    title = "Customers at medium risk and above, by day"
    drawn: dict[str, Any] = {"drawing": stacked(title, [day.at.date() for day in days], series)}
    return {**drawn, "legend": legend(series)}
