"""Tags of what is read: 304 if the client's copy is current, if possible before the query runs."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from api import etags
from api.etags import has, tag_of
from api.reading.common import fetch, fetch_all
from api.reading.intervals import floor
from workers.store import sql

Endpoint = Callable[[Request], Awaitable[Response]]

CACHING = {"Cache-Control": "private, no-cache", "Vary": "X-API-Key"}


def validated(endpoint: Endpoint) -> Endpoint:
    """Adds an `ETag` to a route's answers (of the content, unless the route set one), and answers 304 to that tag."""

    @wraps(endpoint)
    async def validate(request: Request) -> Response:
        response = await endpoint(request)
        if response.status_code != HTTPStatus.OK or request.method not in ("GET", "HEAD"):
            return response
        response.headers.update(CACHING)
        tag = response.headers.setdefault("ETag", tag_of(bytes(response.body)))
        return not_modified(tag) if has(request, tag) else response

    return validate


def not_modified(tag: str) -> Response:
    """304, for a route that reads."""
    return etags.not_modified(tag, CACHING)


async def tag_of_totals(request: Request, account_id: int) -> str:
    """The tag of an answer that only changes with the totals, the model or the hour."""
    totals = [row["tallied"] for (row,) in await fetch_all(request, sql("version_of_totals"), {})]
    (learning,) = await fetch(request, sql("version_of_learning"), {"account_id": account_id})
    hour = floor(datetime.now(UTC), "hour")
    return tag_of(repr((account_id, str(request.url), hour, *totals, *learning.values())).encode())
