"""The list of customers, and the same as CSV."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.dashboard.export import write_lines
from api.dashboard.labels import STRATEGIES
from api.dashboard.levels import GROUPS, count_groups
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.reading import query
from api.reading.customers import CustomerFilter, list_query, parse_filter, read_page
from workers.store import connect

SIZE = 50
STATES = ("here", "new", "active", "lapsed")
COLUMNS = (("email", "E-mail"), ("risk", "Risk"), (None, "Why"), ("last_seen", "Last seen"), (None, "What to do"))
FIRST_SORTS = {"email": "email", "risk": "-risk", "last_seen": "-last_seen"}  # on the first click
FLIPPED_SORTS = {"email": "-email", "-risk": "risk", "-last_seen": "last_seen"}


@page
async def list_customers(request: Request, session: Session) -> Response:
    """`GET /customers`: SIZE a page, the highest risk first by default."""
    chosen = _parse_filter(request)
    rows, cursor = await read_page(request, session.account_id, chosen, SIZE)
    counts = await count_groups(request, session.account_id)
    return render(
        request,
        "customers.html",
        session,
        customers=rows,
        next_cursor=cursor,
        filters=chosen,
        columns=[(title, _sort_link(name, chosen.sort)) for name, title in COLUMNS],
        groups=GROUPS,
        counts=counts,
        strategies=STRATEGIES,
        query=_query_of(chosen),
        address=address(request),
    )


@page
async def export_customers(request: Request, session: Session) -> Response:
    """`GET /customers.csv`: all customers of the list, in its order, as of now."""
    chosen = _parse_filter(request)
    statement, parameters = list_query(session.account_id, chosen)
    url = request.app.state.settings.database_url
    words = ["windback-customers", *filter(None, (chosen.level, chosen.state)), f"{datetime.now(UTC):%Y-%m-%d}"]
    headers = {"Content-Disposition": f'attachment; filename="{"-".join(words)}.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(
        write_lines(lambda: connect(url), statement, parameters), headers=headers, media_type="text/csv"
    )


def _parse_filter(request: Request) -> CustomerFilter:
    chosen = parse_filter(request)
    return chosen._replace(state=query.choice(request, "state", STATES), prefix=(chosen.prefix or "").strip() or None)


def _query_of(chosen: CustomerFilter) -> Mapping[str, Any]:
    """The query string of this list."""
    return {"email": chosen.prefix, "level": chosen.level, "state": chosen.state, "sort": chosen.sort}


def _sort_link(name: str | None, sort: str) -> tuple[str, str] | None:
    """The sort that a click on a column gives, and the current one as aria-sort puts it."""
    if name is None:
        return None
    if sort.removeprefix("-") != name:
        return FIRST_SORTS[name], ""
    flipped = FLIPPED_SORTS.get(sort) or FIRST_SORTS[name]
    return flipped, "descending" if sort.startswith("-") else "ascending"
