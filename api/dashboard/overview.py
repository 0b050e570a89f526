"""The overview: who is about to leave, why, what to do, and whether that can be trusted."""

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.levels import GROUPS, count_groups
from api.dashboard.page import address, page, render
from api.dashboard.session import Session


@page
async def overview(request: Request, session: Session) -> Response:
    """`GET /`."""
    counts = await count_groups(request, session.account_id)
    return render(request, "overview.html", session, counts=counts, groups=GROUPS, address=address(request))
