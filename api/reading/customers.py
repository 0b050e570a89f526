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


class Wanted(NamedTuple):
    """Which customers, in which order (one of SORTS; `-` for descending). `state` may also be `here`: not lapsed;
    `prefix` is how an address begins."""

    sort: str = "-risk"
    level: str | None = None
    state: str | None = None
    prefix: str | None = None


async def list_customers(request: Request) -> Response:
    """`GET /api/v1/customers`: a page of customers, by risk unless told otherwise."""
    account_id = await account_of(request)
    rows, cursor = await read_page(request, account_id, wanted(request), query.limit(request))
    return answer(Customers([_in_list(row) for row in rows], cursor))


def wanted(request: Request) -> Wanted:
    """What the query of a list asks for. Raises Refused."""
    sort = query.choice(request, "sort", [sign + name for name in SORTS for sign in ("", "-")], "-risk") or ""
    return Wanted(sort, query.choice(request, "level", NAMES), prefix=request.query_params.get("email"))


async def read_page(
    request: Request, account_id: int, wanted: Wanted, size: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The customers after the request's `cursor`, and the cursor of the next page. Raises Refused."""
    column, _ = SORTS[wanted.sort.removeprefix("-")]
    after = query.position(request, CURSORS[wanted.sort.removeprefix("-")])
    if after is not None and after[0] != wanted.sort:
        raise Refused("invalid_parameter", f"`cursor` belongs to a list sorted by {after[0]}.")
    statement, parameters = list_query(account_id, wanted, after, size + 1)
    rows = await fetch(request, statement, parameters)
    page = rows[:size]
    more = len(rows) > size
    return page, query.cursor(wanted.sort, page[-1][column], page[-1]["customer_id"]) if more else None


def list_query(
    account_id: int, wanted: Wanted, after: Any = None, limit: int | None = None
) -> tuple[LiteralString, dict[str, Any]]:
    """The query for a list and its parameters: all that is left `after` a position, up to a limit."""
    column, kind = SORTS[wanted.sort.removeprefix("-")]
    order, compare = DIRECTIONS["-" if wanted.sort.startswith("-") else ""]
    statement = sql("list_customers")
    for mark, word in {"{column}": column, "{type}": kind, "{order}": order, "{compare}": compare}.items():
        statement = statement.replace(mark, word)
    return statement, {
        "account_id": account_id,
        "level": wanted.level,
        "state": wanted.state,
        "prefix": _like_prefix(wanted.prefix),
        "first": after is None,
        "value": after[1] if after else None,
        "customer_id": after[2] if after else None,
        "limit": limit,
    }


def _in_list(row: dict[str, Any]) -> CustomerInList:
    risk = None
    if row["level"] is not None:
        risk = RiskInList(score_of(row["probability"]), row["level"], row["state"], row["reason"])
    return CustomerInList(row["email"], row["first_seen"], row["last_event"], risk)


def _like_prefix(prefix: str | None) -> str | None:
    if prefix is None:
        return None
    escaped = normalise_email(prefix).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("\0", "") + "%"
