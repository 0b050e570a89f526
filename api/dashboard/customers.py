"""The list of customers, and the same as CSV."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.dashboard.export import ExportOrder, byte_order_mark, write_lines
from api.dashboard.labels import STRATEGIES
from api.dashboard.levels import GROUPS, count_groups
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.dashboard.zones import local
from api.database import in_thread
from api.reading import query
from api.reading.common import account_of
from api.reading.customer_filter import NOT_LAPSED, PARAMETERS, SORTS, CustomerFilter, list_query, parse_filter
from api.reading.customers import read_page, read_pasts
from scoring.levels import NAMES

SIZE = 50
HERE, ALL = "here", "all"  # not lapsed, and everybody
PAGE_PARAMETERS = ("lapsed", "then", "on")
FILE_PARAMETERS = (*PAGE_PARAMETERS, "bom")
STANDINGS = (*NAMES, "lapsed")  # of a customer at a time
COLUMNS = (
    ("email", "Customer"),
    ("risk", "Risk"),
    ("risen", "14 days"),
    (None, "Why"),
    (None, "Last active"),
    (None, "What to do"),
)
FIRST_SORTS = {"email": "email", "risk": "-risk", "risen": "-risen"}  # on the first click
FLIPPED_SORTS = {"email": "-email", "-risk": "risk", "-risen": "risen"}


@page
async def list_customers(request: Request, session: Session) -> Response:
    """`GET /customers`: SIZE a page; customers who haven't lapsed, the highest risk first, by default."""
    chosen = _parse_page_filter(request, HERE)
    rows, cursor = await read_page(request, session.account_id, chosen, SIZE)
    counts = await count_groups(request, session.account_id)
    shown = _query_of(request, chosen)
    return render(
        request,
        "customers.html",
        session,
        customers=rows,
        next_cursor=cursor,
        filters=chosen,
        columns=[(title, _sort_link(name, chosen.sort)) for name, title in COLUMNS],
        groups=GROUPS,
        active=next((key for key, group in GROUPS.items() if _is_group(shown, group.query)), None),
        counts=counts,
        strategies=STRATEGIES,
        query=shown,
        narrowed=_describe_narrowing(chosen),
        address=address(request),
    )


async def export_customers(request: Request) -> Response:
    """`GET /customers.csv`: all customers of the list, in its order, as of now; by session or by API key."""
    if "x-api-key" not in request.headers:
        return await _export_for_session(request)
    account_id = await account_of(request)
    return await _export(request, account_id)


@page
async def _export_for_session(request: Request, session: Session) -> Response:
    return await _export(request, session.account_id)


async def _export(request: Request, account_id: int) -> Response:
    """The file. Raises Refused: once it has begun, nothing can be refused any more."""
    query.refuse_unknown(request, (*PARAMETERS, *FILE_PARAMETERS))
    chosen = _parse_page_filter(request, ALL)
    pasts = await read_pasts(request, account_id, chosen)
    statement, parameters = list_query(account_id, chosen, pasts=pasts)
    settings = request.app.state.settings
    order = ExportOrder(SORTS[chosen.sort.removeprefix("-")].field, chosen.sort.startswith("-"))
    state = "not-lapsed" if chosen.states == NOT_LAPSED else ",".join(chosen.states)
    words = ["windback-customers", *filter(None, (",".join(chosen.levels), state)), f"{datetime.now(UTC):%Y-%m-%d}"]
    headers = {"Content-Disposition": f'attachment; filename="{"-".join(words)}.csv"', "Cache-Control": "no-store"}
    pieces = write_lines(settings.all_cells, statement, parameters, order)
    beginning = byte_order_mark(request) + await in_thread(partial(next, pieces))
    return StreamingResponse(chain([beginning], pieces), headers=headers, media_type="text/csv")


def _parse_page_filter(request: Request, default: str) -> CustomerFilter:
    """The filter of a page: as in the API, with the states `here` and `all`, and two filters that only pages have."""
    state = request.query_params.get("state") or default
    states = {HERE: NOT_LAPSED, ALL: ()}.get(state)
    chosen = parse_filter(request, states)
    part, prefix = chosen.part or None, chosen.prefix or None
    return chosen._replace(part=part, prefix=prefix, lapsed_since=_parse_lapsed(request), then=_parse_then(request))


def _parse_lapsed(request: Request) -> datetime | None:
    """`lapsed`: only customers who lapsed in so many days."""
    days = query.whole_number(request, "lapsed", 365)
    return datetime.now(UTC) - timedelta(days=days) if days else None


def _parse_then(request: Request) -> tuple[str, datetime] | None:
    """`then` and `on`: only customers who were at this level at the end of that day."""
    level, day = query.choice(request, "then", STANDINGS), query.moment(request, "on")
    return (level, day.replace(hour=23, minute=59, second=59)) if level and day else None


def _query_of(request: Request, chosen: CustomerFilter) -> Mapping[str, Any]:
    """The query string of this list, without the page."""
    kept = (
        *("level", "plan", "company", "currency", "email", "search", "risen", "since"),
        *PAGE_PARAMETERS,
    )
    shown = {name: request.query_params[name] for name in kept if request.query_params.get(name)}
    return {**shown, "state": request.query_params.get("state") or HERE, "sort": chosen.sort}


def _describe_narrowing(chosen: CustomerFilter) -> str:
    """The filters that have no control on the page, in words."""
    parts = []
    if chosen.lapsed_since:
        parts.append(f"lapsed since {local(chosen.lapsed_since):%-d %b}")
    if chosen.then:
        parts.append(f"{chosen.then[0]} on {chosen.then[1]:%-d %b %Y}")
    if chosen.risen is not None:
        since = f"{local(chosen.since):%-d %b}" if chosen.since else "two weeks ago"
        parts.append(f"risk up {chosen.risen * 100:g} points or more since {since}")
    if chosen.plan:
        parts.append(f"on the plan {chosen.plan}")
    if chosen.company:
        parts.append(f"of {chosen.company}")
    if chosen.currency:
        parts.append(f"paying in {chosen.currency}")
    return f"Only customers: {', '.join(parts)}." if parts else ""


def _is_group(shown: Mapping[str, Any], group: Mapping[str, str | None]) -> bool:
    return all(shown.get(name) == group.get(name) for name in ("level", "state", "lapsed", "then"))


def _sort_link(name: str | None, sort: str) -> tuple[str, str] | None:
    """The sort that a click on a column gives, and the current one as aria-sort puts it."""
    if name is None:
        return None
    if sort.removeprefix("-") != name:
        return FIRST_SORTS[name], ""
    flipped = FLIPPED_SORTS.get(sort) or FIRST_SORTS[name]
    return flipped, "descending" if sort.startswith("-") else "ascending"
