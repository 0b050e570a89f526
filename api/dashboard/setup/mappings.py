"""The page that maps an account's own events to the recognised ones."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import forms
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.errors import Refused
from api.reading.mappings import change_mappings, read_names
from scoring.event_roles import CHURN_ROLE, ENGAGEMENT_ROLE
from scoring.events import RECOGNISED

ROLE_WORDS: Final = {
    ENGAGEMENT_ROLE: "Counts as use",
    CHURN_ROLE: "Means that the customer has left",
    **{name: f"Stands for {name}" for name in RECOGNISED},
}
NOTHING: Final = ""  # the role of a name that stands for itself
MOST_NAMES: Final = 40  # on the page: the most frequent ones, and all that are mapped
FIELD: Final = "role:"


@page
async def list_or_save(request: Request, session: Session) -> Response:
    """`GET /mappings`: every name of the account's own and what it stands for. `POST`: changes what a form names."""
    if request.method != "POST":
        return await _list(request, session)
    fields = await forms.read(request, session.token)
    wanted = _read_roles(fields)
    try:
        added = {name: role for name, role in wanted.items() if role != NOTHING}
        removed = [name for name, role in wanted.items() if role == NOTHING]
        await change_mappings(request, session.account_id, added, removed)
    except Refused as refused:
        if refused.code != "invalid_mapping":
            raise
        return await _list(request, session, refused.message)
    return redirect(_return_address(fields.get("back", "")))


def _read_roles(fields: Mapping[str, str]) -> dict[str, str]:
    """Returns the role of each name in the form: from its selects, its ticks, or the page of a single event."""
    wanted = {name.removeprefix(FIELD): role for name, role in fields.items() if name.startswith(FIELD)}
    if "event" in fields:
        wanted[fields["event"]] = fields.get("role", NOTHING)
    return wanted


def _return_address(back: str) -> str:
    """Returns the page that the form was sent from, if it is one of ours."""
    ours = back == "/" or back.startswith("/events/")
    return back if ours else "/mappings?saved=1"


async def _list(request: Request, session: Session, fault: str | None = None) -> Response:
    sent = await read_names(request, session.account_id)
    proposed = {proposal.event: proposal for proposal in sent.proposals}
    own = [name for name in sent.names if name.event not in RECOGNISED]
    ranked = sorted(own, key=lambda name: (name.event not in sent.mappings, not _is_likely(proposed, name.event)))
    return render(
        request,
        "mappings.html",
        session,
        status=422 if fault else 200,
        names=ranked[:MOST_NAMES],
        left_out=max(len(ranked) - MOST_NAMES, 0),
        unsent={name: role for name, role in sent.mappings.items() if name not in {each.event for each in own}},
        mappings=sent.mappings,
        sent_names=len(sent.names),
        proposed=proposed,
        roles=ROLE_WORDS,
        saved="saved" in request.query_params,
        fault=fault,
    )


def _is_likely(proposed: Mapping[str, object], name: str) -> bool:
    return bool(getattr(proposed.get(name), "likely", False))
