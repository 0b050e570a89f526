"""Reading customers: the list, one of them, what they did, how their risk moved."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import psycopg
from msgspec import Meta, Raw, Struct
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import Response

from api import paging
from api.errors import Refused
from scoring.advice import Advice
from scoring.levels import NAMES
from scoring.reasons import Reason
from workers.store import sql
from workers.wire import customer_id, normal_email

SORTS = {"risk": ("probability", "real"), "last_seen": ("last_seen", "timestamptz"), "email": ("email", "text")}
CURSORS: dict[str, Any] = {
    "risk": tuple[str, float, UUID],
    "last_seen": tuple[str, datetime, UUID],
    "email": tuple[str, str, UUID],
}
DIRECTIONS = {"": ("ASC", ">"), "-": ("DESC", "<")}

Time = Annotated[datetime, Meta(tz=True)]
Score = Annotated[float, Meta(ge=0, le=100)]
Level = Literal["low", "medium", "high", "critical"]
State = Literal["new", "active", "lapsed"]
Count = Annotated[int, Meta(ge=0)]


class RiskInList(Struct):
    """A risk, as a list shows it."""

    score: Score
    level: Level
    state: State
    reason: str | None


class CustomerInList(Struct):
    """A customer, as a list shows it. `risk` is null until the first score, a moment after the first event."""

    email: str
    first_seen: Time
    last_seen: Time
    risk: RiskInList | None


class Customers(Struct):
    """A page of customers. `next_cursor` is null on the last one."""

    customers: list[CustomerInList]
    next_cursor: str | None


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


async def list_customers(request: Request) -> Response:
    """`GET /api/v1/customers`: a page of customers, by risk unless told otherwise."""
    account_id = await account_of(request)
    sort = paging.choice(request, "sort", [sign + name for name in SORTS for sign in ("", "-")], "-risk") or ""
    name = sort.removeprefix("-")
    column, kind = SORTS[name]
    after = paging.position(request, CURSORS[name])
    if after is not None and after[0] != sort:
        raise Refused("invalid_parameter", f"`cursor` belongs to a list sorted by {after[0]}.")
    size = paging.limit(request)
    order, compare = DIRECTIONS["-" if sort.startswith("-") else ""]
    query = sql("list_customers")
    for mark, word in {"{column}": column, "{type}": kind, "{order}": order, "{compare}": compare}.items():
        query = query.replace(mark, word)
    rows = await fetch(
        request,
        query,
        {
            "account_id": account_id,
            "level": paging.choice(request, "level", NAMES),
            "prefix": _like_prefix(request.query_params.get("email")),
            "first": after is None,
            "value": after[1] if after else None,
            "customer_id": after[2] if after else None,
            "limit": size + 1,
        },
    )
    page = rows[:size]
    more = len(rows) > size
    return answer(
        Customers(
            [_in_list(row) for row in page],
            paging.cursor(sort, page[-1][column], page[-1]["customer_id"]) if more else None,
        )
    )


async def show_customer(request: Request) -> Response:
    """`GET /api/v1/customers/{email}`: everything that is known of a customer."""
    row = await _customer(request)
    counts = await fetch(request, sql("count_events"), {"customer_id": row["customer_id"]})
    risk = None
    if row["level"] is not None:
        risk = Risk(
            score=_score(row),
            probability=round(row["probability"], 6),
            level=row["level"],
            state=row["state"],
            horizon_days=request.app.state.settings.horizon_days,
            model=row["model"],
            scored_at=row["scored_at"],
            low_confidence=row["low_confidence"],
            stale_input=row["stale_input"],
            reasons=row["reasons"],
        )
    return answer(
        Customer(
            email=row["email"],
            first_seen=row["first_seen"],
            last_seen=row["last_event"],
            events={count["event"]: count["n"] for count in counts},
            risk=risk,
            plan=row["plan"],
            open_tickets=row["open_tickets"],
            overdue_since=row["overdue_since"],
            nps=row["nps"],
            advice=row["advice"],
        )
    )


async def list_events(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/events`: what the customer did, newest first."""
    customer = await _customer(request)
    size = paging.limit(request, 100)
    after = paging.position(request, tuple[datetime, int])
    rows = await fetch(
        request,
        sql("list_events"),
        {
            "customer_id": customer["customer_id"],
            "first": after is None,
            "occurred_at": after[0] if after else None,
            "event_key": after[1] if after else None,
            "limit": size + 1,
        },
    )
    page = rows[:size]
    more = len(rows) > size
    return answer(
        Timeline(
            [
                EventInTimeline(
                    row["event"], row["occurred_at"], row["received_at"], Raw((row["properties"] or "{}").encode())
                )
                for row in page
            ],
            paging.cursor(page[-1]["occurred_at"], page[-1]["event_key"]) if more else None,
        )
    )


async def list_risk(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/risk`: how the risk moved, oldest first."""
    customer = await _customer(request)
    rows = await fetch(
        request,
        sql("list_risk"),
        {
            "customer_id": customer["customer_id"],
            "from": paging.moment(request, "from"),
            "to": paging.moment(request, "to"),
        },
    )
    return answer(RiskHistory([RiskThen(row["at"], _score(row), row["level"]) for row in rows]))


async def account_of(request: Request) -> int:
    """The account of a request's key. Raises Refused."""
    key = await request.app.state.door.keys.secret_of(request.scope)
    return int(key.account_id)


async def _customer(request: Request) -> dict[str, Any]:
    """The customer that the path names. Raises Refused, customer_not_found: another account's is not found either."""
    account_id = await account_of(request)
    email = normal_email(request.path_params["email"])
    rows = []
    if "\0" not in email:
        rows = await fetch(request, sql("find_customer"), {"customer_id": customer_id(account_id, email)})
    if not rows:
        raise Refused("customer_not_found")
    return rows[0]


async def fetch(request: Request, query: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query, by column. Raises Refused, store_unavailable."""
    try:
        async with request.app.state.pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
    except psycopg.DataError:  # a cursor that nobody here made
        raise Refused("invalid_parameter") from None
    except (psycopg.OperationalError, PoolTimeout):
        raise Refused("store_unavailable") from None


def _in_list(row: dict[str, Any]) -> CustomerInList:
    risk = None
    if row["level"] is not None:
        risk = RiskInList(_score(row), row["level"], row["state"], row["reason"])
    return CustomerInList(row["email"], row["first_seen"], row["last_event"], risk)


def _score(row: dict[str, Any]) -> float:
    return round(float(row["probability"]) * 100, 1)


def _like_prefix(prefix: str | None) -> str | None:
    if prefix is None:
        return None
    escaped = normal_email(prefix).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("\0", "") + "%"


def answer(value: Any) -> Response:
    """200, with this as JSON."""
    return Response(msgspec.json.encode(value), HTTPStatus.OK, media_type="application/json")
