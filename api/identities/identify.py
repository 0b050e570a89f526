"""`POST /api/v1/identify`: the address of a user id, and traits of a customer."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import handle, read_body
from api.errors import Refused
from api.identities.pushing import Push, push
from api.identities.rules import find_faults, find_unread_traits
from api.surrogates import NUL, replace_halves
from api.track.answers import Rejected
from api.track.raw_json import TOO_DEEP, RawField, cut_list, decode_object, decode_text, decode_whole
from scoring.events import MAX_BATCH
from workers import counters
from workers.buffer.entries import Identity, parse_instant

ONE_OR_ALL = "Send either one identity or `identities`, not both."


class NewIdentity(Struct):
    """The address of a user id, traits, or both. At least one of `user_id` and `customer_email`."""

    user_id: Annotated[str | None, Meta(description="Your own id of the customer: 1 to 200 characters.")] = None
    customer_email: Annotated[
        str | None, Meta(description="The address. Another one than before moves the customer, with all history.")
    ] = None
    traits: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Anything worth knowing, at most 32 KiB. `name`, `plan`, `mrr` (minor units), `currency` (ISO "
            "4217) and `company` are read; of each the latest holds. All are shown and erased with the customer."
        ),
    ] = None
    timestamp: Annotated[
        str | None, Meta(description="The time of these facts: ISO 8601. Default: the time of receipt.")
    ] = None


class NewIdentities(Struct):
    """1 to 100 identities. Those that are valid are taken, whatever the others are."""

    identities: Annotated[list[NewIdentity], Meta(min_length=1, max_length=MAX_BATCH)]


class RawIdentity(Struct, gc=False):
    """The fields of an identity that are read, as they were sent; or a list of identities."""

    user_id: RawField = UNSET
    customer_email: RawField = UNSET
    traits: RawField = UNSET
    timestamp: RawField = UNSET
    identities: RawField = UNSET


_decode_fields: Callable[[bytes], RawIdentity] = msgspec.json.Decoder(RawIdentity).decode


class CheckedIdentities(NamedTuple):
    """The valid identities of a request, and why the others are refused."""

    valid: list[Identity]
    rejected: list[Rejected]
    unread: list[str]  # messages on traits that are kept and not read


async def identify(request: Request) -> Response:
    """`POST /api/v1/identify`: one identity, or up to 100."""
    key = await request.app.state.door.keys.authenticate_secret(request.scope)
    body = await read_body(request)
    now = time.time()
    checked = await handle(body, lambda: _check_body(body, now))
    warnings = request.app.state.door.warnings
    for rejected in checked.rejected:
        counters.add("rejected", rejected.code)
        warnings.add(key.account_id, rejected.code, rejected.field, rejected.message)
    for unread in checked.unread:
        warnings.add(key.account_id, "traits_invalid", "traits", unread)
    if not checked.valid:
        message = checked.rejected[0].message if len(checked.rejected) == 1 else None
        raise Refused("invalid_identity", message, {"rejected": checked.rejected})
    await push(request, key, Push([], checked.valid, now), now)
    if not checked.rejected:
        return Response(b'{"status":"ok"}', 200, media_type="application/json")
    partial = {"status": "partial", "accepted": len(checked.valid), "rejected": checked.rejected}
    return Response(msgspec.json.encode(partial), 207, media_type="application/json")


def _check_body(body: bytes, now: float) -> CheckedIdentities:
    try:
        return check(read_identities(body), now)
    except RecursionError:  # some readers need a little more of the stack than others
        raise Refused("malformed_json", TOO_DEEP) from None


def read_identities(body: bytes) -> Iterator[object]:
    """Yields the identities of a body, unchecked; each is decoded when its turn comes. Raises Refused: malformed_json,
    invalid_identity, batch_too_large."""
    decode_whole(bytes.decode, body)
    if b'"identities"' in body:
        body = replace_halves(body, NUL)
    fields = decode_whole(_decode_fields, body)
    if fields.identities is UNSET:
        return map(_read_identity, [body])
    if fields.user_id is not UNSET or fields.customer_email is not UNSET:
        raise _refuse(ONE_OR_ALL)
    raws = cut_list(fields.identities)
    if not raws:
        raise _refuse("`identities` must be a list of 1 to 100 identities.")
    if len(raws) > MAX_BATCH:
        raise Refused("batch_too_large", f"The batch has over {MAX_BATCH} identities; split it.")
    return map(_read_identity, raws)


def _read_identity(raw: bytes) -> object:
    """Returns the fields of an identity that are read; None if it is no object."""
    try:
        fields = _decode_fields(raw)
    except msgspec.ValidationError:
        return None
    traits = decode_object(fields.traits)
    named = {name: decode_text(getattr(fields, name)) for name in ("user_id", "customer_email", "timestamp")}
    return {**named, "traits": traits}


def check(identities: Iterable[object], now: float, trusted: bool = True) -> CheckedIdentities:
    """Returns what can be taken of these, as of `now` (epoch seconds)."""
    checked = CheckedIdentities([], [], [])
    for index, identity in enumerate(identities):
        if not isinstance(identity, dict):
            checked.rejected.append(Rejected(index, "identities", "user_id_invalid", "An identity must be an object."))
            continue
        fault = next(find_faults(identity, now), None)
        if fault is not None:
            checked.rejected.append(Rejected(index, *fault))
            continue
        traits = identity.get("traits") or {}
        checked.unread.extend(unread.message for unread in find_unread_traits(traits))
        checked.valid.append(make_identity(identity, traits, trusted))
    return checked


def make_identity(identity: dict[str, Any], traits: dict[str, Any], trusted: bool) -> Identity:
    """Returns a checked identity as it travels through the buffer."""
    timestamp = identity.get("timestamp")
    return Identity(
        user_id=identity.get("user_id"),
        customer_email=identity.get("customer_email"),
        traits=msgspec.Raw(msgspec.json.encode(traits)),
        timestamp=parse_instant(timestamp).isoformat() if timestamp else None,
        trusted=trusted,
    )


def _refuse(message: str) -> Refused:
    return Refused("invalid_identity", message, {"rejected": [Rejected(0, "identities", "user_id_invalid", message)]})
