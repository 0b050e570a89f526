"""Reading customers: the list."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.reading import past, query
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
    fetch_all,
    fetch_merged,
    score_of,
)
from api.reading.customer_filter import (
    CURSORS,
    PARAMETERS,
    SORTS,
    CustomerFilter,
    list_query,
    order_of,
    parse_filter,
)
from api.reading.past import Past, describe_pasts
from api.reading.query import accepts, choices
from scoring.advice import Advice

INCLUDES = ("advice",)


class RiskInList(Struct):
    """A risk in a list."""

    score: Score
    level: Level
    state: State
    reason: str | None


class CustomerInList(Struct):
    """A customer in a list. `risk` is null until the first score, seconds after the first event. `last_seen` is the
    last event of any kind, `last_active` the last use of the product. `risen` is the rise of the score in points since
    14 days ago, or since `since`; null if the score of that time isn't known. `advice` is there where it is included.
    """

    email: str
    first_seen: Time
    last_seen: Time
    last_active: Time | None
    plan: str | None
    risk: RiskInList | None
    risen: float | None
    name: str | None
    company: str | None
    mrr: Count | None
    currency: str | None
    mrr_at_risk: MoneyAtRisk | None
    advice: Advice | msgspec.UnsetType | None = msgspec.UNSET


class Customers(Struct):
    """A page of customers. `next_cursor` is null on the last one."""

    customers: list[CustomerInList]
    next_cursor: str | None


@accepts(*PARAMETERS, "include", "limit", "cursor")
async def list_customers(request: Request) -> Response:
    """`GET /api/v1/customers`: a page of customers, the highest risk first by default."""
    account_id = await account_of(request)
    included = choices(request, "include", INCLUDES)
    rows, cursor = await read_page(request, account_id, parse_filter(request), query.limit(request))
    return answer(Customers([_describe_row(row, "advice" in included) for row in rows], cursor))


async def read_page(
    request: Request, account_id: int, chosen: CustomerFilter, size: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The customers after the request's `cursor`, and the cursor of the next page. Raises Refused."""
    name = chosen.sort.removeprefix("-")
    after = query.position(request, CURSORS[name])
    if after is not None and after[0] != chosen.sort:
        raise query.invalid("cursor", f"belongs to a list sorted by {after[0]}; start again without it.")
    pasts = await read_pasts(request, account_id, chosen)
    rows = await _look_up_first(request, account_id, chosen, after, size + 1, pasts)
    if rows is None:
        statement, parameters = list_query(account_id, chosen, after, size + 1, pasts)
        rows = await fetch_merged(request, statement, parameters, order_of(chosen.sort))
    page = rows[:size]
    if len(rows) <= size:
        return page, None
    return page, query.encode_cursor(chosen.sort, page[-1][SORTS[name].field] or 0, page[-1]["customer_id"])


async def _look_up_first(
    request: Request, account_id: int, chosen: CustomerFilter, after: Any, limit: int, pasts: Mapping[str, Past]
) -> list[dict[str, Any]] | None:
    """The rows of a list by past moments of a large account, if the first customers of each cell are enough for them;
    None where a pass has to be made. Raises Refused, store_unavailable."""
    if not any(then.is_large for then in pasts.values()) or (chosen.since and chosen.sort.endswith("risen")):
        return None
    alone = {name: then._replace(is_large=False) for name, then in pasts.items()}
    statement, parameters = list_query(account_id, chosen, after, limit, alone, past.LOOKED_UP)
    cells = await fetch_all(request, statement, parameters)
    may_be_more = chosen.then or chosen.risen is not None or limit > past.LOOKED_UP
    if may_be_more and any(len(rows) < limit for rows in cells):
        return None
    return order_of(chosen.sort).merge(cells, parameters)


async def read_pasts(request: Request, account_id: int, chosen: CustomerFilter) -> dict[str, Past]:
    """The facts about a filter's past moments that `list_query` needs. Raises Refused, store_unavailable."""
    moments = {"since": chosen.since, "then": chosen.then[1] if chosen.then else None}
    return await describe_pasts(request, account_id, moments)


def _describe_row(row: dict[str, Any], with_advice: bool) -> CustomerInList:
    risk = None
    if row["level"] is not None:
        risk = RiskInList(score_of(row["probability"]), row["level"], row["state"], row["reason"])
    return CustomerInList(
        email=row["email"],
        first_seen=row["first_seen"],
        last_seen=row["last_event"],
        last_active=row["last_active"],
        plan=row["plan"],
        risk=risk,
        risen=None if row["risen"] is None else score_of(row["risen"]),
        advice=msgspec.convert(row["advice"], Advice | None) if with_advice else msgspec.UNSET,
        **describe_profile(row),
    )
