"""The list of customers, and the same as CSV."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.dashboard.export import lines
from api.dashboard.labels import STRATEGIES
from api.dashboard.levels import GROUPS, count_groups
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.reading import query
from api.reading.customers import Wanted, list_query, read_page, wanted
from workers.store import connect

SIZE = 50
STATES = ("here", "new", "active", "lapsed")
COLUMNS = (("email", "E-mail"), ("risk", "Risk"), (None, "Why"), ("last_seen", "Last seen"), (None, "What to do"))
FIRST = {"email": "email", "risk": "-risk", "last_seen": "-last_seen"}  # how a column is sorted at first
FLIPPED = {"email": "-email", "-risk": "risk", "-last_seen": "last_seen"}


@page
async def list_customers(request: Request, session: Session) -> Response:
    """`GET /customers`: 50 a page, by risk unless told otherwise."""
    asked = _asked(request)
    rows, cursor = await read_page(request, session.account_id, asked, SIZE)
    counts = await count_groups(request, session.account_id)
    return render(
        request,
        "customers.html",
        session,
        customers=rows,
        next_cursor=cursor,
        asked=asked,
        columns=[(title, _sort_link(name, asked.sort)) for name, title in COLUMNS],
        groups=GROUPS,
        counts=counts,
        strategies=STRATEGIES,
        query=_query(asked),
        address=address(request),
    )


@page
async def export_customers(request: Request, session: Session) -> Response:
    """`GET /customers.csv`: all customers that the list would show, in its order, as they are at this moment."""
    asked = _asked(request)
    statement, parameters = list_query(session.account_id, asked)
    url = request.app.state.settings.database_url
    words = ["windback-customers", *filter(None, (asked.level, asked.state)), f"{datetime.now(UTC):%Y-%m-%d}"]
    headers = {"Content-Disposition": f'attachment; filename="{"-".join(words)}.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(lines(lambda: connect(url), statement, parameters), headers=headers, media_type="text/csv")


def _asked(request: Request) -> Wanted:
    asked = wanted(request)
    return asked._replace(state=query.choice(request, "state", STATES), prefix=(asked.prefix or "").strip() or None)


def _query(asked: Wanted) -> Mapping[str, Any]:
    """The query that asks for the same list."""
    return {"email": asked.prefix, "level": asked.level, "state": asked.state, "sort": asked.sort}


def _sort_link(name: str | None, sort: str) -> tuple[str, str] | None:
    """How a column would be sorted if one clicked it, and how it is now, as aria-sort says it."""
    if name is None:
        return None
    if sort.removeprefix("-") != name:
        return FIRST[name], ""
    flipped = FLIPPED.get(sort) or FIRST[name]
    return flipped, "descending" if sort.startswith("-") else "ascending"
