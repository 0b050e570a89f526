"""Erasing a customer: `DELETE /api/v1/customers/{email}`."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.database import in_thread
from api.errors import Refused
from api.reading.common import account_of
from api.reading.customer import show_customer
from api.reading.query import refuse_unknown
from api.track.rules import valid_email
from workers.identities import changes, erasing
from workers.identities.changes import AddressChange
from workers.upkeep.erasure import Receipt

Count = Annotated[int, Meta(ge=0)]


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
    settings, conflicts = request.app.state.settings, list[AddressChange]()
    receipt = await in_thread(lambda: erasing.erase(settings, account_id, email, conflicts=conflicts))
    changes.warn_of_conflicts(request.app.state.door.warnings, conflicts)
    return describe(receipt)


def describe(receipt: Receipt) -> Erased:
    """A receipt as it is shown."""
    erasure_id, erased_at, *counts = receipt
    return Erased(erasure_id, erased_at, ErasedCounts(*counts))
