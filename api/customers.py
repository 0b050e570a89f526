"""Reading customers: the list; and what all reading routes share."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import psycopg
from msgspec import Meta, Struct
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from starlette.requests import Request
from starlette.responses import Response

from api import paging
from api.errors import Refused
from scoring.levels import NAMES
from workers.store import sql
from workers.wire import normal_email

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


async def account_of(request: Request) -> int:
    """The account of a request's key. Raises Refused."""
    key = await request.app.state.door.keys.secret_of(request.scope)
    return int(key.account_id)


async def fetch(request: Request, query: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query, by column. Raises Refused, store_unavailable."""
    try:
        return await _rows(request.app.state.pool, query, parameters)
    except psycopg.DataError:  # a cursor that nobody here made
        raise Refused("invalid_parameter") from None
    except (psycopg.OperationalError, PoolTimeout):
        raise Refused("store_unavailable") from None


async def _rows(pool: AsyncConnectionPool, query: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        try:
            cursor = await connection.execute(query, parameters)
        except psycopg.errors.FeatureNotSupported:  # the schema has changed since this connection prepared the query
            await connection.execute("DEALLOCATE ALL")
            cursor = await connection.execute(query, parameters)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


def _in_list(row: dict[str, Any]) -> CustomerInList:
    risk = None
    if row["level"] is not None:
        risk = RiskInList(score_of(row["probability"]), row["level"], row["state"], row["reason"])
    return CustomerInList(row["email"], row["first_seen"], row["last_event"], risk)


def score_of(probability: float) -> float:
    """A risk in percent."""
    return round(float(probability) * 100, 1)


def _like_prefix(prefix: str | None) -> str | None:
    if prefix is None:
        return None
    escaped = normal_email(prefix).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("\0", "") + "%"


def answer(value: Any) -> Response:
    """200, with this as JSON."""
    return Response(msgspec.json.encode(value), HTTPStatus.OK, media_type="application/json")
