"""The overview: who is about to leave, why, what to do, and whether that can be trusted."""

from starlette.requests import Request
from starlette.responses import Response

from api.customers import fetch
from api.dashboard.page import page, render
from api.dashboard.session import Session
from workers.store import sql


@page
async def overview(request: Request, session: Session) -> Response:
    """`GET /`."""
    rows = await fetch(request, sql("count_levels"), {"account_id": session.account_id})
    return render(request, "overview.html", session, levels={row["level"]: row["customers"] for row in rows})
