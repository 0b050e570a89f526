"""Reading one customer: the risk, the events, and the risk over time."""

from datetime import datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.reading import query
from api.reading.common import (
    Count,
    Level,
    MoneyAtRisk,
    Score,
    State,
    Time,
    account_of,
    answer,
    describe_profile,
    fetch,
    fetch_all,
    score_of,
)
from api.reading.intervals import bounds
from api.reading.merging import put_in_order
from api.reading.query import accepts
from api.reading.words import advice_with_words
from scoring.advice import Advice
from scoring.reasons import Reason
from workers.buffer.entries import hash_customer, normalise_email
from workers.store import sql

MOST_USER_IDS = 100


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
    last_active: Time | None
    events: dict[str, Count]
    risk: Risk | None
    plan: str | None
    open_tickets: Count
    overdue_since: Time | None
    nps: Annotated[int, Meta(ge=0, le=10)] | None
    advice: Advice | None
    name: str | None
    company: str | None
    mrr: Count | None
    currency: str | None
    mrr_at_risk: MoneyAtRisk | None
    traits: dict[str, Any]
    user_ids: list[str]


class EventInTimeline(Struct):
    """An event as it was stored."""

    event: str
    timestamp: Time
    received_at: Time
    properties: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]


class Timeline(Struct):
    """A page of a customer's events, newest first. `next_cursor` is null on the last page."""

    events: list[EventInTimeline]
    next_cursor: str | None


class RiskThen(Struct):
    """A risk, in force from `at` on."""

    at: Time
    score: Score
    level: Level


class RiskHistory(Struct):
    """A risk over time, oldest first."""

    risk: list[RiskThen]


class RiskAt(NamedTuple):
    """A point of a risk's history. `rebuilt`: estimated afterwards from imported history."""

    at: datetime
    probability: float
    level: Level
    model: str
    rebuilt: bool


@accepts()
async def show_customer(request: Request) -> Response:
    """`GET /api/v1/customers/{email}`: one customer."""
    return answer(await describe(request, await _find_requested(request)))


@accepts("limit", "cursor")
async def list_events(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/events`: the customer's events, newest first."""
    row = await _find_requested(request)
    return answer(await read_events(request, row["customer_id"], query.limit(request, 100)))


@accepts("from", "to")
async def list_risk(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/risk`: the risk over time, oldest first."""
    row = await _find_requested(request)
    since, until = bounds(request)
    history = await read_risk(request, row["customer_id"], since, until)
    return answer(RiskHistory([RiskThen(risk.at, score_of(risk.probability), risk.level) for risk in history]))


async def find(request: Request, account_id: int, email: str) -> dict[str, Any]:
    """A customer's row in this account. Raises Refused, customer_not_found."""
    email, rows = normalise_email(email), []
    if "\0" not in email:
        rows = await fetch(request, sql("find_customer"), {"customer_id": hash_customer(account_id, email)})
    if not rows:
        raise Refused("customer_not_found")
    return rows[0]


async def describe(request: Request, row: dict[str, Any]) -> Customer:
    """The customer of this row, with the risk, counts of events and advice."""
    counts = await fetch(request, sql("count_events"), {"customer_id": row["customer_id"]})
    traits = await fetch(request, sql("read_traits"), {"customer_id": row["customer_id"]})
    return Customer(
        email=row["email"],
        first_seen=row["first_seen"],
        last_seen=row["last_event"],
        last_active=row["last_active"],
        events={count["event"]: count["n"] for count in counts},
        risk=_describe_risk(row),
        plan=row["plan"],
        traits=msgspec.json.decode(traits[0]["traits"]) if traits else {},
        user_ids=await _list_user_ids(request, row["customer_id"]),
        **describe_profile(row),
        open_tickets=row["open_tickets"],
        overdue_since=row["overdue_since"],
        nps=row["nps"],
        advice=await advice_with_words(request, row),
    )


async def _list_user_ids(request: Request, customer_id: UUID) -> list[str]:
    """The user ids of a customer, which may be in any cell. Where the Postgres of one is away, only those in the
    customer's own cell."""
    listing, parameters = sql("list_user_ids"), {"customer_id": customer_id, "limit": MOST_USER_IDS}
    try:
        cells = await fetch_all(request, listing, parameters)
    except Refused:
        cells = [await fetch(request, listing, parameters)]
    return [row["user_id"] for row in put_in_order(cells, ["user_id"], MOST_USER_IDS)]


async def read_events(request: Request, customer_id: UUID, size: int) -> Timeline:
    """A page of a customer's events, from the request's cursor on. Raises Refused."""
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
        query.encode_cursor(page[-1]["occurred_at"], page[-1]["event_key"]) if more else None,
    )


async def read_risk(
    request: Request, customer_id: UUID, since: datetime | None, until: datetime | None
) -> list[RiskAt]:
    """A customer's risk over time, oldest first; the first point is the one in force at `since`."""
    parameters = {"customer_id": customer_id, "from": since, "to": until}
    return [RiskAt(**row) for row in await fetch(request, sql("list_risk"), parameters)]


async def _find_requested(request: Request) -> dict[str, Any]:
    """The row of the customer in the path, in the key's account. Raises Refused."""
    return await find(request, await account_of(request), request.path_params["email"])


def _describe_risk(row: dict[str, Any]) -> Risk | None:
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
