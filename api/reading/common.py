"""Shared by the reading routes: types, the key's account, rows, answers."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
import psycopg
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused, explain_absence
from api.pool import Pool
from api.timeouts import with_timeout
from workers.cells import cell_of
from workers.logs import first_line
from workers.store.faults import is_unavailable

log = logging.getLogger(__name__)

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


async def fetch(request: Request, query: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query, by column: of home, or of the cell of the customer whom the parameters name. Raises Refused,
    store_unavailable."""
    state, customer_id = request.app.state, parameters.get("customer_id")
    pool = state.pools[cell_of(str(customer_id), len(state.pools))] if customer_id else state.pool
    return (await _fetch_from([pool], query, parameters))[0]


async def fetch_all(request: Request, query: Any, parameters: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows of a query of every cell, by column. Raises Refused, store_unavailable."""
    return await _fetch_from(request.app.state.pools, query, parameters)


async def _fetch_from(pools: Sequence[Pool], query: Any, parameters: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return await asyncio.gather(*(_fetch_rows(pool, query, parameters) for pool in pools))


async def _fetch_rows(pool: Pool, query: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return await with_timeout(READ_SECONDS, _rows(pool, query, parameters))
    except psycopg.DataError:  # a cursor that isn't ours
        raise Refused("invalid_parameter") from None
    except (psycopg.Error, TimeoutError) as error:
        if isinstance(error, psycopg.Error) and not is_unavailable(error):
            raise
        log.warning("Postgres can't do it now: %s", first_line(error), extra={"cell": pool.place.name})
        raise Refused("store_unavailable", explain_absence(pool.place)) from None


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


async def _rows(pool: Pool, query: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        # Planned anew each time: a plan for any range or prefix is a bad one for most, and outlives a changed schema.
        cursor = await connection.execute(query, parameters, prepare=False)
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
        await pool.look_again(connection)
        return rows
