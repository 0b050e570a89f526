"""Reading customers: the list."""

from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.reading import query
from api.reading.common import Level, Score, State, Time, account_of, answer, fetch, score_of
from scoring.levels import NAMES
from workers.buffer.entries import normalise_email
from workers.store import sql

SORTS: dict[str, tuple[LiteralString, LiteralString]] = {
    "risk": ("probability", "real"),
    "last_seen": ("last_seen", "timestamptz"),
    "email": ("email", "text"),
}
CURSORS: dict[str, Any] = {
    "risk": tuple[str, float, UUID],
    "last_seen": tuple[str, datetime, UUID],
    "email": tuple[str, str, UUID],
}
DIRECTIONS: dict[str, tuple[LiteralString, LiteralString]] = {"": ("ASC", ">"), "-": ("DESC", "<")}


class RiskInList(Struct):
    """A risk in a list."""

    score: Score
    level: Level
    state: State
    reason: str | None


class CustomerInList(Struct):
    """A customer in a list. `risk` is null until the first score, seconds after the first event."""

    email: str
    first_seen: Time
    last_seen: Time
    risk: RiskInList | None


class Customers(Struct):
    """A page of customers. `next_cursor` is null on the last one."""

    customers: list[CustomerInList]
    next_cursor: str | None


class CustomerFilter(NamedTuple):
    """The customers and their order (one of SORTS; `-` for descending). `state` may also be `here`: not lapsed.
    `prefix` is the beginning of an address."""

    sort: str = "-risk"
    level: str | None = None
    state: str | None = None
    prefix: str | None = None


async def list_customers(request: Request) -> Response:
    """`GET /api/v1/customers`: a page of customers, the highest risk first by default."""
    account_id = await account_of(request)
    rows, cursor = await read_page(request, account_id, parse_filter(request), query.limit(request))
    return answer(Customers([_describe_row(row) for row in rows], cursor))


def parse_filter(request: Request) -> CustomerFilter:
    """The filter in a request's query. Raises Refused."""
    sort = query.choice(request, "sort", [sign + name for name in SORTS for sign in ("", "-")], "-risk") or ""
    return CustomerFilter(sort, query.choice(request, "level", NAMES), prefix=request.query_params.get("email"))


async def read_page(
    request: Request, account_id: int, chosen: CustomerFilter, size: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The customers after the request's `cursor`, and the cursor of the next page. Raises Refused."""
    column, _ = SORTS[chosen.sort.removeprefix("-")]
    after = query.position(request, CURSORS[chosen.sort.removeprefix("-")])
    if after is not None and after[0] != chosen.sort:
        raise Refused("invalid_parameter", f"`cursor` belongs to a list sorted by {after[0]}.")
    statement, parameters = list_query(account_id, chosen, after, size + 1)
    rows = await fetch(request, statement, parameters)
    page = rows[:size]
    more = len(rows) > size
    return page, query.encode_cursor(chosen.sort, page[-1][column], page[-1]["customer_id"]) if more else None


def list_query(
    account_id: int, chosen: CustomerFilter, after: Any = None, limit: int | None = None
) -> tuple[LiteralString, dict[str, Any]]:
    """The query of a list and its parameters: the rows `after` a position, up to a limit."""
    column, kind = SORTS[chosen.sort.removeprefix("-")]
    order, compare = DIRECTIONS["-" if chosen.sort.startswith("-") else ""]
    statement = sql("list_customers")
    for mark, word in {"{column}": column, "{type}": kind, "{order}": order, "{compare}": compare}.items():
        statement = statement.replace(mark, word)
    return statement, {
        "account_id": account_id,
        "level": chosen.level,
        "state": chosen.state,
        "prefix": _like_prefix(chosen.prefix),
        "first": after is None,
        "value": after[1] if after else None,
        "customer_id": after[2] if after else None,
        "limit": limit,
    }


def _describe_row(row: dict[str, Any]) -> CustomerInList:
    risk = None
    if row["level"] is not None:
        risk = RiskInList(score_of(row["probability"]), row["level"], row["state"], row["reason"])
    return CustomerInList(row["email"], row["first_seen"], row["last_event"], risk)


def _like_prefix(prefix: str | None) -> str | None:
    if prefix is None:
        return None
    escaped = normalise_email(prefix).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("\0", "") + "%"
