"""The page of a customer: the risk and its reasons, what to do, the timeline, and erasing."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import forms
from api.dashboard.acting.box import acting_box, label_facts, with_handlings
from api.dashboard.charts import bar
from api.dashboard.contributions import explain_risk
from api.dashboard.history import draw_risk
from api.dashboard.labels import SPANS, STATES, STRATEGIES
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.dashboard.setup.traits import list_other_traits
from api.dashboard.timeline import group_by_day
from api.errors import Refused
from api.reading import customer, query
from api.reading.common import fetch_all
from api.reading.erasing import erase
from api.reading.merging import first_found
from scoring.currencies import describe_amount
from workers.buffer.entries import normalise_email
from workers.store import sql

SPAN = "90"  # days of the chart by default
EVENTS = 30  # on a page of the timeline
NAMES = 12  # event names above the fold
MOST_NAMES = 60
WRONG_ADDRESS = "This is not the customer's address. Nothing was erased. Type the address exactly as in the title."


@page
async def show_or_erase(request: Request, session: Session) -> Response:
    """`GET` and `POST /customers/{email}`."""
    return await (_erase if request.method == "POST" else _show)(request, session)


@page
async def receipt(request: Request, session: Session) -> Response:
    """`GET /erasures/{erasure_id}`: the receipt of an erasure."""
    parameters = {"erasure_id": request.path_params["erasure_id"], "account_id": session.account_id}
    rows = first_found(await fetch_all(request, sql("find_erasure"), parameters))
    if not rows:
        raise Refused("not_found")
    return render(request, "erased.html", session, erasure=rows[0])


async def _show(request: Request, session: Session, fault: str | None = None) -> Response:
    row = await customer.find(request, session.account_id, request.path_params["email"])
    shown = await customer.describe(request, row)
    span = query.choice(request, "span", list(SPANS), SPAN) or SPAN
    timeline = await customer.read_events(request, row["customer_id"], EVENTS)
    counts = list(shown.events.items())
    acting = await acting_box(request, session.account_id, row)
    first_page = "cursor" not in request.query_params
    events = with_handlings(timeline.events, acting["handlings"] if first_page else [], not timeline.next_cursor)
    return render(
        request,
        "customer.html",
        session,
        status=422 if fault else 200,
        customer=shown,
        row=row,
        chart=await draw_risk(request, row, span, datetime.now(UTC)),
        contributions=await explain_risk(request, row, shown.risk) if shown.risk else None,
        bar=bar,
        span=span,
        spans=SPANS,
        states=STATES,
        strategies=STRATEGIES,
        mail=_list_mail_facts(shown),
        first_counts=counts[:NAMES],
        more_counts=counts[NAMES:MOST_NAMES],
        left_out=max(len(counts) - MOST_NAMES, 0),
        days=group_by_day(events),
        next_cursor=timeline.next_cursor,
        fault=fault,
        traits=list_other_traits(shown.traits),
        amount=describe_amount,
        **acting,
    )


async def _erase(request: Request, session: Session) -> Response:
    """Erases the customer if the address was typed correctly."""
    fields = await forms.read(request, session.token)
    row = await customer.find(request, session.account_id, request.path_params["email"])
    if normalise_email(fields.get("email", "")) != row["email"]:
        return await _show(request, session, WRONG_ADDRESS)
    erased = await erase(request, session.account_id, row["email"])
    return redirect(f"/erasures/{erased.erasure_id}")


def _list_mail_facts(shown: customer.Customer) -> str:
    """Facts for an e-mail to the customer, as text."""
    if shown.advice is None:
        return ""
    lines = [("To", shown.email), ("Why", shown.advice.why), *label_facts(shown.advice)]
    return "\n".join(f"{name}: {value}" for name, value in lines)
