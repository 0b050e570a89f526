"""Shared by the reading routes: types, the key's account, rows, answers."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import psycopg
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused, explain_absence
from api.reading.merging import Row
from api.reading.sources import Source, Sources
from api.reading.statements import Merging
from api.timeouts import with_timeout
from workers.logs import first_line
from workers.store.faults import is_unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

READ_SECONDS = 30.0  # a reading route answers within this, even if Postgres hangs

Time = Annotated[datetime, Meta(tz=True)]
Score = Annotated[float, Meta(ge=0, le=100)]
Level = Literal["low", "medium", "high", "critical"]
State = Literal["new", "active", "lapsed"]
Count = Annotated[int, Meta(ge=0)]
MoneyAtRisk = Annotated[
    int, Meta(ge=0, description="Of `mrr`, the share of the risk, in minor units of the customer's own currency.")
]


async def account_of(request: Request) -> int:
    """The account of a request's key. Raises Refused."""
    key = await request.app.state.door.keys.authenticate_secret(request.scope)
    return int(key.account_id)


async def fetch(request: Request, query: str, parameters: dict[str, Any]) -> list[Row]:
    """The rows of a query, by column: of home, or of the cell of the customer whom the parameters name. Raises Refused,
    store_unavailable."""
    sources: Sources = request.app.state.sources
    customer_id = parameters.get("customer_id")
    source = sources.find(str(customer_id)) if customer_id else sources.home
    (rows,) = await _read(source, source.read(query, parameters))
    return rows


async def fetch_all(request: Request, query: str, parameters: dict[str, Any]) -> list[list[Row]]:
    """The rows of a query of every cell, by column. Raises Refused, store_unavailable."""
    sources: Sources = request.app.state.sources
    read = (_read(source, source.read(query, parameters)) for source in sources.with_customers)
    return sources.in_order(await asyncio.gather(*read))


async def fetch_merged(request: Request, query: str, parameters: dict[str, Any], merging: Merging) -> list[Row]:
    """The rows of a query of all cells, merged. Raises Refused, store_unavailable."""
    sources: Sources = request.app.state.sources
    read = (_read(source, source.read_merged(query, parameters, merging)) for source in sources.with_customers)
    return merging.merge(await asyncio.gather(*read), parameters)


async def _read(source: Source, reading: Coroutine[Any, Any, T]) -> T:
    """Awaits the rows of a source. Raises Refused."""
    try:
        return await with_timeout(READ_SECONDS, reading)
    except psycopg.DataError:  # a cursor that isn't ours
        raise Refused("invalid_parameter") from None
    except (psycopg.Error, TimeoutError) as error:
        if isinstance(error, psycopg.Error) and not is_unavailable(error):
            raise
        place = source.find_absent(error)
        log.warning("Postgres can't do it now: %s", first_line(error), extra={"cell": place.name})
        raise Refused("store_unavailable", explain_absence(place)) from None


def describe_profile(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the traits of a customer; None for unknown ones."""
    profile = {name: row[name] for name in ("name", "company", "mrr", "currency")}
    return {**profile, "mrr_at_risk": None if row["mrr"] is None else round(row["mrr_at_risk"])}


def score_of(probability: float) -> float:
    """A risk in percent."""
    return round(float(probability) * 100, 1)


def answer(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """200, with this as JSON."""
    return Response(msgspec.json.encode(value), HTTPStatus.OK, headers, media_type="application/json")
