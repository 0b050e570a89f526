"""The overview: customers who may leave, why, what to do, and the state of the service."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

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
from api.reading.merging import put_in_order
from api.reading.model import read_model
from api.reading.track_record import read_details, read_track_record
from workers.accounts.renewals import RenewalProgress
from workers.store import sql

URGENT = 8  # customers
RISEN = 5
LEAST_RISE = 0.05  # smaller rises are not listed
CHARTED = ("critical", "high", "medium")
Row = dict[str, Any]
NOBODY = Day(at=datetime.min.replace(tzinfo=UTC), low=0, medium=0, high=0, critical=0, lapsed=0)


class OverviewLists(NamedTuple):
    """Rows of each cell: whether there are customers, the most urgent, those whose risk rose most, and how many lapsed
    in the last week."""

    customers: list[list[Row]]
    urgent: list[list[Row]]
    risen: list[list[Row]]
    lapsed: list[list[Row]]


class LevelComparison(NamedTuple):
    """The earlier levels that today's are compared with, and a renewal that is under way."""

    week_ago: dict[str, int] | None
    changes: list[ModelChange]
    restated: list[list[Row]]
    renewal: RenewalProgress | None


@page
async def overview(request: Request, session: Session) -> Response:
    """`GET /`."""
    account_id = session.account_id
    lists, comparison = await asyncio.gather(_read_lists(request, account_id), _read_comparison(request, account_id))
    use = await ask_for_use(request, account_id)
    checks = [
        *await run_checks(request, account_id),
        *([] if use is None else [NOT_UNDERSTOOD]),
        *await check_unresolved(request, account_id),
        *check_renewal(comparison.renewal),
    ]
    context: dict[str, Any] = {"checks": checks, "worst": find_worst(checks)}
    if not any(lists.customers):
        return render(request, "welcome.html", session, **context, address=address(request))
    context |= _describe_levels(await read_levels(request, account_id), lists, comparison)
    context |= await _describe_model(request, account_id)
    return render(
        request,
        "overview.html",
        session,
        **context,
        use=use,
        money=await read_money(request, account_id),
        urgent=put_in_order(lists.urgent, ("urgency", "customer_id"), URGENT, descending=True),
        risen=put_in_order(lists.risen, ("risen", "customer_id"), RISEN, descending=True),
        groups=GROUPS,
        strategies=STRATEGIES,
        bar=bar,
    )


async def _read_lists(request: Request, account_id: int) -> OverviewLists:
    rows = await asyncio.gather(
        fetch_all(request, sql("any_customer"), {"account_id": account_id}),
        fetch_all(request, sql("urgent"), {"account_id": account_id, "limit": URGENT}),
        fetch_all(request, sql("risen"), {"account_id": account_id, "least": LEAST_RISE, "limit": RISEN}),
        fetch_all(request, sql("count_lapsed"), {"account_id": account_id, "since": datetime.now(UTC) - WEEK}),
    )
    return OverviewLists(*rows)


async def _read_comparison(request: Request, account_id: int) -> LevelComparison:
    now = datetime.now(UTC)
    return LevelComparison(
        *await asyncio.gather(
            read_levels_then(request, account_id, now - WEEK),
            read_model_changes(request, account_id, now - MONTH),
            fetch_all(request, sql("list_restated_levels"), {"account_id": account_id}),
            read_renewal(request, account_id),
        )
    )


def _describe_levels(days: Sequence[Day], lists: OverviewLists, comparison: LevelComparison) -> dict[str, Any]:
    """The tiles and the chart."""
    restated = restate(days, comparison.changes, comparison.restated)
    return {
        "counts": days[-1] if days else NOBODY,
        "tiles": count_tiles(days, comparison.week_ago, sum(row["customers"] for (row,) in lists.lapsed)),
        "chart": _draw_levels(restated, comparison.changes),
    }


async def _describe_model(request: Request, account_id: int) -> dict[str, Any]:
    """Describes the quality of the risks, and the churn that followed them."""
    model, track_record, details, months, plans = await asyncio.gather(
        read_model(request, account_id),
        read_track_record(request, account_id),
        read_details(request, account_id),
        read_churn_months(request, account_id),
        read_plans(request, account_id),
    )
    return {
        "horizon_days": model.horizon_days,
        "accuracy": describe_accuracy(model),
        "track_record": track_record,
        "details": details,
        "months": months,
        "plans": plans,
    }


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
