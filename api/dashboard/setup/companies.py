"""Companies: revenue, revenue at risk, and the last sign of the most active person."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.filters import name_company
from api.dashboard.page import address, page, render
from api.dashboard.session import Session
from api.errors import Refused
from api.reading.common import fetch_all
from api.reading.customer_filter import CustomerFilter
from api.reading.customers import read_page
from api.reading.mappings import read_mappings
from api.reading.merging import add_up
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
    }
    companies = await _read_companies(request, parameters)
    return render(
        request,
        "companies.html",
        session,
        companies=companies,
        part=part,
        most=MOST_COMPANIES,
        amount=describe_amount,
        company_command=name_company(address(request)),
    )


@page
async def show_company(request: Request, session: Session) -> Response:
    """`GET /companies/{name}`: its customers, its money, its most active person."""
    name = request.path_params["name"]
    sums = (
        []
        if "\0" in name
        else add_up(
            await fetch_all(request, sql("show_company"), {"account_id": session.account_id, "company": name}),
            ("currency",),
        )
    )
    if not sums:
        raise Refused("not_found")
    sums.sort(key=lambda row: (-row["at_risk"], row["currency"]))
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


async def _read_companies(request: Request, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The companies with the most money at risk. A company's customers may be in several cells: those that lead in one
    of them are added up over all. Where one that leads in none could come before them, more of each cell are asked."""
    limit = MOST_COMPANIES
    while True:
        cells = await fetch_all(request, sql("list_companies"), {**parameters, "names": None, "limit": limit})
        ends = [rows[-1]["at_risk"] for rows in cells if len(rows) == limit]
        if ends and len(cells) > 1:
            names = sorted({row["company"] for rows in cells for row in rows})
            cells = await fetch_all(request, sql("list_companies"), {**parameters, "names": names, "limit": None})
        sums = add_up(cells, ("company", "currency"), highest=max, riskiest=max, last_active=max)
        first = sorted(sums, key=lambda row: (-row["at_risk"], -row["riskiest"], row["company"]))[:MOST_COMPANIES]
        if not ends or len(cells) == 1 or first[-1]["at_risk"] > sum(ends):
            return first
        limit *= 4


async def _find_carrier(request: Request, account_id: int, company: str) -> Mapping[str, Any] | None:
    """Returns the most active person of a company, and True if that person has gone silent."""
    meaning = Meaning.of_mappings(await read_mappings(request, account_id))
    events = [*ENGAGEMENT, *meaning.names_of(ENGAGEMENT)]
    parameters = {"account_id": account_id, "company": company, "events": events}
    cells = await fetch_all(request, sql("most_active_person"), parameters)
    rows = sorted(chain.from_iterable(cells), key=lambda row: (-row["days"], row["email"]))
    if not rows:
        return None
    last = rows[0]["last_active"]
    silent = rows[0]["state"] == "lapsed" or (last is not None and datetime.now(UTC) - last > SILENT)
    return {**rows[0], "silent": silent}
