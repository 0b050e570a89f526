"""Reading one customer: who it is, what it did, how its risk moved."""

from datetime import datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.reading import query
from api.reading.common import Count, Level, Score, State, Time, account_of, answer, fetch, score_of
from api.reading.intervals import bounds
from scoring.advice import Advice
from scoring.reasons import Reason
from workers.buffer.entries import hash_customer, normalise_email
from workers.store import sql


class Risk(Struct):
    """A customer's risk. `score` is the probability in percent."""

    score: Score
    probability: Annotated[float, Meta(ge=0, le=1)]
    level: Level
    state: State
    horizon_days: int
    model: str
    scored_at: Time
    low_confidence: bool
    stale_input: bool
    reasons: list[Reason]


class Customer(Struct):
    """One customer."""

    email: str
    first_seen: Time
    last_seen: Time
    events: dict[str, Count]
    risk: Risk | None
    plan: str | None
    open_tickets: Count
    overdue_since: Time | None
    nps: Annotated[int, Meta(ge=0, le=10)] | None
    advice: Advice | None


class EventInTimeline(Struct):
    """An event as it was stored."""

    event: str
    timestamp: Time
    received_at: Time
    properties: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]


class Timeline(Struct):
    """A page of what a customer did, newest first. `next_cursor` is null on the last one."""

    events: list[EventInTimeline]
    next_cursor: str | None


class RiskThen(Struct):
    """A risk at some time."""

    at: Time
    score: Score
    level: Level


class RiskHistory(Struct):
    """How a risk moved, oldest first."""

    risk: list[RiskThen]


class RiskAt(NamedTuple):
    """A row of a risk's history. What is `rebuilt` was computed later, when history arrived."""

    at: datetime
    probability: float
    level: Level
    rebuilt: bool


async def show_customer(request: Request) -> Response:
    """`GET /api/v1/customers/{email}`: everything that is known of a customer."""
    return answer(await told(request, await _asked(request)))


async def list_events(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/events`: what the customer did, newest first."""
    row = await _asked(request)
    return answer(await read_events(request, row["customer_id"], query.limit(request, 100)))


async def list_risk(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/risk`: how the risk moved, oldest first."""
    row = await _asked(request)
    since, until = bounds(request)
    history = await read_risk(request, row["customer_id"], since, until)
    return answer(RiskHistory([RiskThen(one.at, score_of(one.probability), one.level) for one in history]))


async def find(request: Request, account_id: int, email: str) -> dict[str, Any]:
    """A customer's row. Raises Refused, customer_not_found: another account's is not found either."""
    email, rows = normalise_email(email), []
    if "\0" not in email:
        rows = await fetch(request, sql("find_customer"), {"customer_id": hash_customer(account_id, email)})
    if not rows:
        raise Refused("customer_not_found")
    return rows[0]


async def told(request: Request, row: dict[str, Any]) -> Customer:
    """Everything that is known of the customer of this row."""
    counts = await fetch(request, sql("count_events"), {"customer_id": row["customer_id"]})
    return Customer(
        email=row["email"],
        first_seen=row["first_seen"],
        last_seen=row["last_event"],
        events={count["event"]: count["n"] for count in counts},
        risk=_risk(row),
        plan=row["plan"],
        open_tickets=row["open_tickets"],
        overdue_since=row["overdue_since"],
        nps=row["nps"],
        advice=msgspec.convert(row["advice"], Advice | None),
    )


async def read_events(request: Request, customer_id: UUID, size: int) -> Timeline:
    """A page of what a customer did, from the request's cursor on. Raises Refused."""
    after = query.position(request, tuple[datetime, int])
    parameters = {
        "customer_id": customer_id,
        "first": after is None,
        "occurred_at": after[0] if after else None,
        "event_key": after[1] if after else None,
        "limit": size + 1,
    }
    rows = await fetch(request, sql("list_events"), parameters)
    page = rows[:size]
    more = len(rows) > size
    return Timeline(
        [
            EventInTimeline(
                row["event"], row["occurred_at"], row["received_at"], Raw((row["properties"] or "{}").encode())
            )
            for row in page
        ],
        query.cursor(page[-1]["occurred_at"], page[-1]["event_key"]) if more else None,
    )


async def read_risk(
    request: Request, customer_id: UUID, since: datetime | None, until: datetime | None
) -> list[RiskAt]:
    """How a customer's risk moved, oldest first."""
    parameters = {"customer_id": customer_id, "from": since, "to": until}
    return [RiskAt(**row) for row in await fetch(request, sql("list_risk"), parameters)]


async def _asked(request: Request) -> dict[str, Any]:
    """The row of the customer that the path names, in the key's account. Raises Refused."""
    return await find(request, await account_of(request), request.path_params["email"])


def _risk(row: dict[str, Any]) -> Risk | None:
    if row["level"] is None:
        return None
    return Risk(
        score=score_of(row["probability"]),
        probability=round(row["probability"], 6),
        level=row["level"],
        state=row["state"],
        horizon_days=row["horizon_days"],
        model=row["model"],
        scored_at=row["scored_at"],
        low_confidence=row["low_confidence"],
        stale_input=row["stale_input"],
        reasons=msgspec.convert(row["reasons"], list[Reason]),
    )
