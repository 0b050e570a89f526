"""Erasing a customer: `DELETE /api/v1/customers/{email}`."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.database import refusing
from api.errors import Refused
from api.reading.common import account_of
from api.reading.customer import show_customer
from api.reading.query import refuse_unknown
from api.track.rules import valid_email
from workers.identities import changes
from workers.identities.erasing import ErasureResult, WantedErasure, erase_each
from workers.settings import Settings
from workers.upkeep.erasure import Receipt

Count = Annotated[int, Meta(ge=0)]
MOST_TOGETHER = 50  # erasures


class ErasedCounts(Struct):
    """The number of erased rows of each kind."""

    events: Count
    event_ids: Count
    days: Count
    risks: Count
    dead_letters: Count


class Erased(Struct):
    """The receipt of an erasure: all that is left."""

    erasure_id: str
    erased_at: Annotated[datetime, Meta(tz=True)]
    erased: ErasedCounts


async def show_or_erase(request: Request) -> Response:
    """Show or erase a customer. It is one route, so that its `Allow` header stands in one place."""
    return await (erase_customer if request.method == "DELETE" else show_customer)(request)


async def erase_customer(request: Request) -> Response:
    """`DELETE /api/v1/customers/{email}`: erases a customer, known or not."""
    account_id, email = await account_of(request), request.path_params["email"]
    if valid_email(email):  # else this is an address below a customer's, which doesn't take DELETE
        refuse_unknown(request, ())
    erased = await erase(request, account_id, email)
    return Response(msgspec.json.encode(erased), 202, media_type="application/json")


async def erase(request: Request, account_id: int, email: str) -> Erased:
    """Erase a customer, known or not. Raises Refused."""
    if not valid_email(email):  # …/events is not an address either
        raise Refused("customer_not_found")
    with refusing():
        result = await request.app.state.erasures.erase(WantedErasure(account_id, email))
    changes.warn_of_conflicts(request.app.state.door.warnings, result.conflicts)
    return describe(result.receipt)


def describe(receipt: Receipt) -> Erased:
    """A receipt as it is shown."""
    erasure_id, erased_at, *counts = receipt
    return Erased(erasure_id, erased_at, ErasedCounts(*counts))


class Erasures:
    """The erasures of a web process, in the order in which they are asked for. Those that wait are done together:
    connecting to Postgres and correcting the totals cost more than an erasure."""

    def __init__(self, find_settings: Callable[[], Settings]) -> None:
        self._find_settings = find_settings
        self._waiting: list[tuple[WantedErasure, asyncio.Future[ErasureResult]]] = []
        self._task: asyncio.Task[None] | None = None

    async def erase(self, wanted: WantedErasure) -> ErasureResult:
        """Erase a person. Raises psycopg.Error."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        result: ErasureResult = await future
        return result

    async def _work(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                results = await self._erase([wanted for wanted, _ in group])
                for (_, future), result in zip(group, results, strict=True):
                    _resolve(future, result)
        finally:
            self._task = None

    async def _erase(self, group: list[WantedErasure]) -> "list[ErasureResult | BaseException]":
        try:
            return [*await run_in_threadpool(erase_each, self._find_settings(), group)]
        except Exception as error:  # each request answers it
            return [error] * len(group)


def _resolve(future: "asyncio.Future[ErasureResult]", result: ErasureResult | BaseException) -> None:
    if future.done():  # its client is gone
        return
    if isinstance(result, ErasureResult):
        future.set_result(result)
    else:
        future.set_exception(result)
