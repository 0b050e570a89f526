"""Handlings, the actions that people took for a customer: `GET` and `POST /api/v1/customers/{email}/handlings`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.errors import Refused
from api.reading.common import Time, account_of, answer, fetch
from api.reading.customer import find
from api.reading.query import accepts
from workers.buffer.entries import parse_instant
from workers.store import sql

INVALID = "invalid_handling"
SNOOZE = timedelta(days=14)
REST = timedelta(days=7)  # after a customer was contacted
LONGEST_SNOOZE = timedelta(days=366)
MOST = 100  # that are shown of a customer

What = Literal["contacted", "snoozed", "noted"]
Text = Annotated[str, Meta(max_length=2000, pattern="^[^\0]*$")]
Who = Annotated[str, Meta(max_length=100, pattern="^[^\0]*$")]


class NewHandling(Struct, forbid_unknown_fields=True):
    """An action to note. `until` is when a snooze ends: by default in 14 days."""

    what: What
    until: (
        Annotated[
            str,
            Meta(
                description="ISO 8601, UTC unless it has an offset: from now on, within a year.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | None
    ) = None
    text: Text | None = None
    who: Who | None = None


class Handling(Struct):
    """An action that was noted for a customer."""

    id: str
    at: Time
    what: What
    until: Time | None
    text: str | None
    who: str | None


class Handlings(Struct):
    """The handlings of a customer, newest first; the latest 100."""

    handlings: list[Handling]


@accepts()
async def list_or_add(request: Request) -> Response:
    """`GET` and `POST /api/v1/customers/{email}/handlings`."""
    account_id = await account_of(request)
    row = await find(request, account_id, request.path_params["email"])
    if request.method != "POST":
        return answer(Handlings(await read_handlings(request, row["customer_id"])))
    wanted = await read_json(request, NewHandling, INVALID)
    added = await add_handling(request, account_id, row["customer_id"], wanted)
    return Response(msgspec.json.encode(added), 201, media_type="application/json")


async def read_handlings(request: Request, customer_id: UUID) -> list[Handling]:
    """Returns the handlings of a customer, newest first. Raises Refused."""
    rows = await fetch(request, sql("list_handlings"), {"customer_id": customer_id, "limit": MOST})
    return [_handling(row) for row in rows]


async def add_handling(request: Request, account_id: int, customer_id: UUID, wanted: NewHandling) -> Handling:
    """Note an action. A snoozed or contacted customer leaves the list *Who to talk to first* for a while. Raises
    Refused, invalid_handling."""
    if wanted.what == "noted" and not (wanted.text or "").strip():
        raise Refused(INVALID, "A note needs a `text`.")
    until = _until(wanted)
    parameters = {
        "account_id": account_id,
        "customer_id": customer_id,
        "what": wanted.what,
        "until": until,
        "off_until": datetime.now(UTC) + REST if wanted.what == "contacted" else until,
        "text": (wanted.text or "").strip() or None,
        "who": (wanted.who or "").strip() or None,
    }
    rows = await fetch(request, sql("add_handling"), parameters)
    if not rows:
        raise Refused("customer_not_found")  # erased a moment ago
    return _handling(rows[0])


def _until(wanted: NewHandling) -> datetime | None:
    now = datetime.now(UTC)
    if wanted.what != "snoozed":
        if wanted.until is not None:
            raise Refused(INVALID, "`until` goes with `snoozed` only.")
        return None
    if wanted.until is None:
        return now + SNOOZE
    try:
        until = parse_instant(wanted.until)
    except ValueError:
        raise Refused(INVALID, "`until` must be a time in ISO 8601, like 2025-12-01T10:00:00Z.") from None
    if not now < until <= now + LONGEST_SNOOZE:
        raise Refused(INVALID, "`until` must lie ahead, by a year at most.")
    return until


def _handling(row: dict[str, Any]) -> Handling:
    return Handling(str(row["handling_id"]), row["at"], row["what"], row["until"], row["text"], row["who"])
