"""The welcome page notices the first event by itself: it asks every 2 seconds."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.page import page
from api.dashboard.session import Session
from api.reading.common import fetch_all
from workers.store import sql


@page
async def first_event(request: Request, session: Session) -> Response:
    """`GET /first-event`: whether one has arrived."""
    customers = await fetch_all(request, sql("any_customer"), {"account_id": session.account_id})
    body = msgspec.json.encode({"arrived": any(customers)})
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")
