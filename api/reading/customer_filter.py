"""Filters and orders of lists of customers, as the API and the pages share them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from starlette.requests import Request

from api.reading import query
from api.reading.common import State
from api.reading.past import Past, level_then, risk_since
from api.reading.statements import Order
from scoring.levels import NAMES
from workers.buffer.entries import normalise_email
from workers.store import sql

STATES: tuple[State, ...] = ("new", "active", "lapsed")
NOT_LAPSED = ("new", "active")
SINCE = re.compile(r"([0-9]{1,4})(h|d|w)")
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Sort(NamedTuple):
    """An order: its column in SQL, the type of that, and the field of a row with its value."""

    column: LiteralString
    kind: LiteralString
    field: str


SORTS: Mapping[str, Sort] = {
    "risk": Sort("customers.probability", "real", "probability"),
    "last_seen": Sort("last_seen", "timestamptz", "last_seen"),
    "email": Sort("email", "text", "email"),
    "risen": Sort("coalesce({risen}, 0)", "real", "risen"),
    "urgency": Sort("urgency", "real", "urgency"),
    "mrr": Sort("coalesce(mrr, 0)", "bigint", "mrr"),
    "mrr_at_risk": Sort("mrr_at_risk", "double precision", "mrr_at_risk"),
}
CURSORS: Mapping[str, Any] = {
    "risk": tuple[str, float, UUID],
    "last_seen": tuple[str, datetime, UUID],
    "email": tuple[str, str, UUID],
    "risen": tuple[str, float, UUID],
    "urgency": tuple[str, float, UUID],
    "mrr": tuple[str, int, UUID],
    "mrr_at_risk": tuple[str, float, UUID],
}
ORDERS = tuple(sign + name for name in SORTS for sign in ("", "-"))
DIRECTIONS: Mapping[str, tuple[LiteralString, LiteralString]] = {"": ("ASC", ">"), "-": ("DESC", "<")}
PARAMETERS = ("sort", "level", "state", "plan", "company", "currency", "email", "search", "risen", "since")


class CustomerFilter(NamedTuple):
    """The customers and their order (one of ORDERS). `prefix` is the beginning of an address, `part` any part of it, as
    they were typed; `risen` the least rise since `since` (default: 14 days ago), as a probability. `lapsed_since` and
    `then` (a level at a time) are filters of the pages."""

    sort: str = "-risk"
    levels: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    plan: str | None = None
    company: str | None = None
    currency: str | None = None
    prefix: str | None = None
    part: str | None = None
    risen: float | None = None
    since: datetime | None = None
    lapsed_since: datetime | None = None
    then: tuple[str, datetime] | None = None


def parse_filter(request: Request, states: tuple[str, ...] | None = None) -> CustomerFilter:
    """The filter in a request's query; `states` in place of its `state`. Raises Refused."""
    return CustomerFilter(
        sort=query.choice(request, "sort", ORDERS, "-risk") or "",
        levels=query.choices(request, "level", NAMES),
        states=query.choices(request, "state", STATES) if states is None else states,
        plan=request.query_params.get("plan"),
        company=request.query_params.get("company"),
        currency=(request.query_params.get("currency") or "").upper() or None,
        prefix=_read_address(request, "email"),
        part=_read_address(request, "search"),
        risen=_parse_rise(request),
        since=_parse_since(request),
    )


def _read_address(request: Request, name: str) -> str | None:
    text = request.query_params.get(name)
    return text and text.strip()


def list_query(
    account_id: int,
    chosen: CustomerFilter,
    after: Any = None,
    limit: int | None = None,
    pasts: Mapping[str, Past] | None = None,
    looked_up: int | None = None,
) -> tuple[LiteralString, dict[str, Any]]:
    """The query of a list and its parameters: the rows `after` a position, up to a limit. `pasts` says how the risks of
    `since` and `then` are best read; with `looked_up`, those of no more customers of the list are."""
    sort = SORTS[chosen.sort.removeprefix("-")]
    order, compare = DIRECTIONS["-" if chosen.sort.startswith("-") else ""]
    statement = sql("list_customers")
    marks: dict[str, LiteralString] = {
        "{customers}": sql("first_customers") if looked_up else "customers",
        "{filter}": sql("filter_customers"),
        **{"{column}": sort.column, "{type}": sort.kind, "{order}": order},
    }
    marks |= {"{compare}": compare, **_list_clauses(chosen, pasts or {})}
    for mark, clause in marks.items():
        statement = statement.replace(mark, clause)
    level, moment = chosen.then or (None, None)
    return statement, {
        "account_id": account_id,
        "levels": list(chosen.levels) or None,
        "states": list(chosen.states) or None,
        "plan": chosen.plan,
        "company": chosen.company,
        "currency": chosen.currency,
        "prefix": _escape_like(chosen.prefix) + "%" if chosen.prefix is not None else None,
        "search": f"%{_escape_like(chosen.part)}%" if chosen.part else None,
        "least": chosen.risen,
        "since": chosen.since,
        "lapsed_since": chosen.lapsed_since,
        "then": moment,
        "stood": level,
        "first": after is None,
        "value": after[1] if after else None,
        "customer_id": after[2] if after else None,
        "limit": limit,
        "looked_up": looked_up,
    }


def order_of(sort: str) -> Order:
    """Returns the order of a list's rows, for one that is merged."""
    column, _, field = SORTS[sort.removeprefix("-")]
    return Order((field, "customer_id"), sort.startswith("-"), "coalesce" in column)


def _list_clauses(chosen: CustomerFilter, pasts: Mapping[str, Past]) -> dict[str, LiteralString]:
    """The parts of list_customers that this filter needs; {risen} last, since others contain it."""
    since = risk_since(pasts.get("since", Past())) if chosen.since else None
    then = level_then(pasts.get("then", Past())) if chosen.then else None
    return {
        "{pasts}": (since.join if since else "") + " " + (then.join if then else ""),
        "{then}": "AND " + then.value + " = %(stood)s" if then else "",
        "{search}": sql("search_customers") if chosen.part else "",
        "{risen}": "(customers.probability - " + since.value + ")" if since else "risen",
    }


def _parse_rise(request: Request) -> float | None:
    """`risen`, in points, as a probability. Raises Refused."""
    text = request.query_params.get("risen")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text, re.ASCII) or not 0 <= float(text) <= 100:
        raise query.invalid("risen", "must be a number of points from 0 to 100, like 20.")
    return float(text) / 100


def _parse_since(request: Request) -> datetime | None:
    """`since`: a time, or how long ago that was, like 7d. Raises Refused."""
    text = request.query_params.get("since")
    if text is None:
        return None
    if ago := SINCE.fullmatch(text):
        return datetime.now(UTC) - int(ago[1]) * UNITS[ago[2]]
    moment = query.parse_moment(text)
    if moment is None or moment > datetime.now(UTC):
        raise query.invalid("since", "must be a time in the past, like 7d, 24h, 2w or 2025-12-01T10:00:00Z.")
    return moment


def _escape_like(part: str) -> str:
    """A part of an address for LIKE. No address holds a blank: one is taken for a plus sign that wasn't encoded."""
    part = normalise_email(part).replace(" ", "+")
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("\0", "\N{REPLACEMENT CHARACTER}")  # no address has it, as none has NUL
