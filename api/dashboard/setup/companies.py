"""Companies: who pays, how much of it is at risk, and whether the person who carried it has gone silent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.page import page, render
from api.dashboard.session import Session
from api.errors import Refused
from api.reading.common import fetch
from api.reading.customer_filter import CustomerFilter
from api.reading.customers import read_page
from api.reading.mappings import read_names
from scoring.currencies import describe_amount
from scoring.event_roles import Meaning
from scoring.events import ENGAGEMENT
from workers.store import sql

MOST_COMPANIES: Final = 100
PEOPLE: Final = 50  # on a page
SILENT: Final = timedelta(days=14)


@page
async def list_companies(request: Request, session: Session) -> Response:
    """`GET /companies`: those with the most money at risk first."""
    part = request.query_params.get("q", "").strip().replace("\0", "")
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    parameters = {
        "account_id": session.account_id,
        "part": f"%{escaped}%" if part else None,
        "limit": MOST_COMPANIES,
    }
    companies = await fetch(request, sql("list_companies"), parameters)
    return render(
        request, "companies.html", session, companies=companies, part=part, most=MOST_COMPANIES, amount=describe_amount
    )


@page
async def show_company(request: Request, session: Session) -> Response:
    """`GET /companies/{name}`: its customers, its money, its most active person."""
    name = request.path_params["name"]
    sums = (
        []
        if "\0" in name
        else await fetch(request, sql("show_company"), {"account_id": session.account_id, "company": name})
    )
    if not sums:
        raise Refused("not_found")
    people, cursor = await read_page(request, session.account_id, CustomerFilter("-mrr_at_risk", company=name), PEOPLE)
    return render(
        request,
        "company.html",
        session,
        name=name,
        sums=sums,
        people=people,
        next_cursor=cursor,
        carrier=await _find_carrier(request, session.account_id, name),
        amount=describe_amount,
    )


async def _find_carrier(request: Request, account_id: int, company: str) -> Mapping[str, Any] | None:
    """The most active person of a company, and whether they have gone silent."""
    sent = await read_names(request, account_id)
    events = [*ENGAGEMENT, *Meaning.of_mappings(sent.mappings).names_of(ENGAGEMENT)]
    rows = await fetch(
        request, sql("most_active_person"), {"account_id": account_id, "company": company, "events": events}
    )
    if not rows:
        return None
    last = rows[0]["last_active"]
    silent = rows[0]["state"] == "lapsed" or (last is not None and datetime.now(UTC) - last > SILENT)
    return {**rows[0], "silent": silent}
