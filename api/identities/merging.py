"""`POST /api/v1/customers/{email}/merge`: two customers who are one person."""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.database import in_database, in_thread
from api.errors import Refused
from api.reading.common import Count, account_of, answer
from api.track.rules import valid_email
from workers.buffer.entries import normalise_email
from workers.identities import across, moving
from workers.identities.moving import Merged


class MergeInto(Struct, forbid_unknown_fields=True):
    """The customer that both are from now on; may be unknown, and is then made."""

    into: Annotated[str, Meta(min_length=3)]


class MergedCustomer(Struct):
    """The customer that is left, and how many events came to it."""

    email: str
    events: Count


async def merge_customer(request: Request) -> Response:
    """`POST /api/v1/customers/{email}/merge`: all of one customer becomes another one's, once."""
    account_id = await account_of(request)
    wanted = await read_json(request, MergeInto, "invalid_merge")
    if not valid_email(wanted.into):
        raise Refused("invalid_merge", "`into` must be an address like local@domain.tld.")
    email, into = normalise_email(request.path_params["email"]), normalise_email(wanted.into)
    if email == into:
        raise Refused("invalid_merge", "`into` is the same address; name the other customer.")
    merged = await _merge(request, account_id, email, into)
    if merged is None:
        raise Refused("customer_not_found")
    return answer(MergedCustomer(merged.email, merged.events))


async def _merge(request: Request, account_id: int, email: str, into: str) -> Merged | None:
    settings = request.app.state.settings
    if settings.cells > 1:
        return await in_thread(lambda: across.merge(settings, account_id, email, into))
    return await in_database(request, lambda connection: moving.merge_known(connection, account_id, email, into))
