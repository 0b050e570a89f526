"""The page of a customer: the risk and why, what to do, what happened; and erasing it."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import forms
from api.dashboard.charts import bar
from api.dashboard.contributions import shares
from api.dashboard.history import risk_chart
from api.dashboard.labels import FACTS, SPANS, STATES, STRATEGIES
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.dashboard.timeline import by_day
from api.errors import Refused
from api.reading import customer, query
from api.reading.common import fetch
from api.reading.erasing import erase
from scoring.advice import Advice
from workers.buffer.entries import normalise_email
from workers.store import sql

SPAN = "90"  # days of the chart, unless told otherwise
EVENTS = 30  # of the timeline on a page
NAMES = 12  # of events that are counted before the fold
MOST_NAMES = 60


@page
async def show_or_erase(request: Request, session: Session) -> Response:
    """`GET` and `POST /customers/{email}`."""
    return await (_erase if request.method == "POST" else _show)(request, session)


@page
async def receipt(request: Request, session: Session) -> Response:
    """`GET /erasures/{erasure_id}`: that a customer is erased, and when."""
    parameters = {"erasure_id": request.path_params["erasure_id"], "account_id": session.account_id}
    rows = await fetch(request, sql("find_erasure"), parameters)
    if not rows:
        raise Refused("not_found")
    return render(request, "erased.html", session, erasure=rows[0])


async def _show(request: Request, session: Session, fault: str | None = None) -> Response:
    row = await customer.find(request, session.account_id, request.path_params["email"])
    known = await customer.told(request, row)
    span = query.choice(request, "span", list(SPANS), SPAN) or SPAN
    timeline = await customer.read_events(request, row["customer_id"], EVENTS)
    counts = list(known.events.items())
    return render(
        request,
        "customer.html",
        session,
        status=422 if fault else 200,
        customer=known,
        chart=await risk_chart(request, row, span, datetime.now(UTC)),
        shares=await shares(request, row, known.risk) if known.risk else None,
        bar=bar,
        span=span,
        spans=SPANS,
        states=STATES,
        strategies=STRATEGIES,
        facts=_facts(known.advice),
        mail=_mail(known),
        first_counts=counts[:NAMES],
        more_counts=counts[NAMES:MOST_NAMES],
        left_out=max(len(counts) - MOST_NAMES, 0),
        days=by_day(timeline.events),
        next_cursor=timeline.next_cursor,
        fault=fault,
    )


async def _erase(request: Request, session: Session) -> Response:
    """Only for who types the address."""
    fields = await forms.read(request, session.token)
    row = await customer.find(request, session.account_id, request.path_params["email"])
    if normalise_email(fields.get("email", "")) != row["email"]:
        return await _show(request, session, "That is not this customer's address. Nothing was erased.")
    erased = await erase(request, session.account_id, row["email"])
    return redirect(f"/erasures/{erased.erasure_id}")


def _facts(advice: Advice | None) -> list[tuple[str, str]]:
    return [(FACTS.get(name, name), str(value)) for name, value in (advice.facts if advice else {}).items()]


def _mail(known: customer.Customer) -> str:
    """What to have at hand while writing to the customer, as text."""
    if known.advice is None:
        return ""
    lines = [("To", known.email), ("Why", known.advice.why), *_facts(known.advice)]
    return "\n".join(f"{name}: {value}" for name, value in lines)
