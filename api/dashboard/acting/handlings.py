"""Noting handlings by the buttons of the pages."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.alerts.handlings import INVALID, NewHandling, add_handling
from api.dashboard import forms
from api.dashboard.filters import path
from api.dashboard.page import page, redirect
from api.dashboard.session import Session
from api.errors import Refused
from api.reading.customer import find

DOINGS: Final = ("contacted", "snoozed", "noted")


@page
async def add(request: Request, session: Session) -> Response:
    """`POST /customers/{email}/handlings`: contacted, snoozed or noted, as the button says."""
    fields = await forms.read(request, session.token)
    row = await find(request, session.account_id, request.path_params["email"])
    what = fields.get("what", "")
    address = f"/customers/{path(row['email'])}"
    if what not in DOINGS:
        raise Refused("not_found")
    wanted = NewHandling(what=what, text=fields.get("text", "")[:2000] or None)  # type: ignore[arg-type]
    try:
        await add_handling(request, session.account_id, row["customer_id"], wanted)
    except Refused as refused:
        if refused.code != INVALID:
            raise
        return redirect(f"{address}?empty=1#handling")
    return redirect("/" if fields.get("back") == "/" else f"{address}#handling")
