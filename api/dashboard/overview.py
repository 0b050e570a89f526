"""The overview: customers who may leave, why, what to do, and the state of the service."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.accuracy import describe_accuracy
from api.dashboard.charts import Layer, bar, legend, stacked
from api.dashboard.churn import read_churn_months, read_plans
from api.dashboard.health import check_renewal, find_worst, run_checks
from api.dashboard.labels import STRATEGIES
from api.dashboard.levels import GROUPS, MONTH, TILES, WEEK, count_tiles, link_then, restate
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.dashboard.setup.money import read_money
from api.dashboard.setup.unresolved import check_unresolved
from api.dashboard.setup.use import NOT_UNDERSTOOD, ask_for_use
from api.reading.common import fetch_all
from api.reading.comparisons import ModelChange, read_levels_then, read_model_changes, read_renewal
from api.reading.levels import Day, read_levels
from api.reading.merging import add_up, put_in_order
from api.reading.model import read_model
from api.reading.track_record import read_details, read_track_record
from workers.store import sql

URGENT = 8  # customers
RISEN = 5
LEAST_RISE = 0.05  # smaller rises are not listed
CHARTED = ("critical", "high", "medium")
NOBODY = Day(at=datetime.min.replace(tzinfo=UTC), low=0, medium=0, high=0, critical=0, lapsed=0)


@page
async def overview(request: Request, session: Session) -> Response:
    """`GET /`."""
    account_id = session.account_id
    lists = asyncio.gather(
        fetch_all(request, sql("any_customer"), {"account_id": account_id}),
        fetch_all(request, sql("urgent"), {"account_id": account_id, "limit": URGENT}),
        fetch_all(request, sql("risen"), {"account_id": account_id, "least": LEAST_RISE, "limit": RISEN}),
        fetch_all(request, sql("count_lapsed"), {"account_id": account_id, "since": datetime.now(UTC) - WEEK}),
    )
    now = datetime.now(UTC)
    compared = asyncio.gather(
        read_levels_then(request, account_id, now - WEEK),
        read_model_changes(request, account_id, now - MONTH),
        fetch_all(request, sql("list_restated_levels"), {"account_id": account_id}),
        read_renewal(request, account_id),
    )
    (week_ago, changes, restated, renewal), (customers, urgent, risen, lapsed) = await asyncio.gather(compared, lists)
    checks, days, model, track_record = await asyncio.gather(
        run_checks(request, account_id),
        read_levels(request, account_id),
        read_model(request, account_id),
        read_track_record(request, account_id),
    )
    details, months, plans = await asyncio.gather(
        read_details(request, account_id), read_churn_months(request, account_id), read_plans(request, account_id)
    )
    use = await ask_for_use(request, account_id)
    if use is not None:
        checks = [*checks, NOT_UNDERSTOOD]
    checks = [*checks, *await check_unresolved(request, account_id), *check_renewal(renewal)]
    context: dict[str, Any] = {"checks": checks, "worst": find_worst(checks)}
    if not any(customers):
        return render(request, "welcome.html", session, **context, address=address(request))
    return render(
        request,
        "overview.html",
        session,
        **context,
        counts=days[-1] if days else NOBODY,
        use=use,
        money=await read_money(request, account_id),
        urgent=put_in_order(urgent, ("urgency", "customer_id"), URGENT, descending=True),
        risen=put_in_order(risen, ("risen", "customer_id"), RISEN, descending=True),
        tiles=count_tiles(days, week_ago, sum(row["customers"] for (row,) in lapsed)),
        groups=GROUPS,
        chart=_draw_levels(restate(days, changes, add_up(restated, ("at", "level"))), changes),
        strategies=STRATEGIES,
        horizon_days=model.horizon_days,
        accuracy=describe_accuracy(model),
        track_record=track_record,
        details=details,
        bar=bar,
        months=months,
        plans=plans,
    )


def _draw_levels(days: Sequence[Day], changes: Sequence[ModelChange]) -> Mapping[str, Any] | None:
    if len(days) < 2:
        return None
    change = changes[-1] if changes else None
    layers = [Layer(name.capitalize(), f"fill-{name}", [getattr(day, name) for day in days]) for name in CHARTED]
    title = "Customers at medium risk and above, by day"
    dates = [day.at.date() for day in days]
    drawing = stacked(title, dates, layers, address=_address_of, mark=change and change.at.date())
    rows = [(day, [(name, getattr(day, name), link_then(name, day.at.date())) for name in TILES]) for day in days[::-1]]
    return {"drawing": drawing, "legend": legend(layers), "rows": rows, "change": change}


def _address_of(layer: Layer, day: date) -> str:
    return link_then(layer.name.lower(), day)
