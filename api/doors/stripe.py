"""Stripe's webhooks: `POST /api/v1/webhooks/stripe/{token}`, signed as Stripe documents it; and their addresses.

https://docs.stripe.com/webhooks#verify-manually: the header `Stripe-Signature` holds the time of sending and signatures
by HMAC-SHA256, with the endpoint's secret, of time and body.
"""

import hashlib
import hmac
import time
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.bodies import decode_object, read_body, read_json
from api.database import in_database
from api.doors.stripe_events import read_stripe_event
from api.errors import Refused
from api.identities.identify import check as check_identities
from api.identities.pushing import Push, push
from api.reading.common import Time, account_of, answer, fetch
from api.reading.query import accepts
from api.track.rules import find_faults
from workers.accounts import stripe_sources
from workers.accounts.keys import Key
from workers.accounts.stripe_sources import NoStripeSecret
from workers.buffer.entries import parse_instant
from workers.store import sql

MOST_BYTES = 512 * 1024  # of an event: Stripe's largest have a tenth of it
TOLERANCE_SECONDS = 300  # between sending and receiving; Stripe signs anew when it sends again


class NewStripeSource(Struct, forbid_unknown_fields=True):
    """The signing secret of the endpoint in Stripe's dashboard."""

    secret: Annotated[str, Meta(min_length=1, max_length=200, examples=["whsec_…"])]


class MadeStripeSource(Struct):
    """The address to enter in Stripe's dashboard."""

    token: str
    path: str


class ListedStripeSource(Struct):
    """An address, and when the last event came there."""

    token: str
    path: str
    created_at: Time
    last_event_at: Time | None


class StripeSources(Struct):
    """All addresses for Stripe's webhooks."""

    sources: list[ListedStripeSource]


@accepts()
async def list_or_add(request: Request) -> Response:
    """`GET` and `POST /api/v1/webhooks/stripe`."""
    account_id = await account_of(request)
    if request.method == "POST":
        secret = (await read_json(request, NewStripeSource, "invalid_webhook")).secret
        token = await add(request, account_id, secret)
        source = MadeStripeSource(token, _path(token))
        return Response(msgspec.json.encode(source), HTTPStatus.CREATED, media_type="application/json")
    rows = await fetch(request, sql("list_stripe_sources"), {"account_id": account_id})
    return answer(StripeSources([ListedStripeSource(path=_path(row["token"]), **row) for row in rows]))


async def take_or_remove(request: Request) -> Response:
    """`POST /api/v1/webhooks/stripe/{token}`: an event of Stripe's. `DELETE`: ends the address."""
    if request.method == "DELETE":
        account_id, token = await account_of(request), request.path_params["token"]
        if not await in_database(request, lambda link: stripe_sources.remove_source(link, account_id, token)):
            raise Refused("not_found")
        return Response(status_code=HTTPStatus.NO_CONTENT)
    account_id, secret = await _find_source(request)
    body = await read_body(request, MOST_BYTES)
    now = time.time()
    _check_signature(request.headers.get("stripe-signature", ""), body, secret, now)
    await _push(request, account_id, decode_object(body), now)
    await fetch(request, sql("note_stripe_event"), {"token": request.path_params["token"]})
    return Response(b'{"status":"ok"}', media_type="application/json")


async def add(request: Request, account_id: int, secret: str) -> str:
    """Make an address; returns its token. Raises Refused: invalid_webhook, store_unavailable."""
    try:
        return await in_database(request, lambda link: stripe_sources.add_source(link, account_id, secret))
    except NoStripeSecret as error:
        raise Refused("invalid_webhook", f"`secret` can't be used: {error}.") from None


def sign(secret: str, body: bytes, at: int) -> str:
    """The signature of a body, as Stripe makes it."""
    return hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()


def _path(token: str) -> str:
    return f"/api/v1/webhooks/stripe/{token}"


async def _find_source(request: Request) -> tuple[int, str]:
    """The account and the secret of an address. Raises Refused: not_found, store_unavailable."""
    token = request.path_params["token"]
    rows = [] if "\0" in token else await fetch(request, sql("find_stripe_source"), {"token": token})
    if not rows:
        raise Refused("not_found")
    return rows[0]["account_id"], rows[0]["secret"]


def _check_signature(header: str, body: bytes, secret: str, now: float) -> None:
    """Raise Refused, invalid_signature, unless one of the signatures is right and fresh."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    sent = next((value for name, _, value in parts if name == "t"), "")
    if not (sent.isascii() and sent.isdecimal() and len(sent) <= 12):
        raise Refused("invalid_signature")
    expected = sign(secret, body, int(sent))
    matches = [hmac.compare_digest(expected.encode(), value.encode()) for name, _, value in parts if name == "v1"]
    if not any(matches) or abs(now - int(sent)) > TOLERANCE_SECONDS:
        raise Refused("invalid_signature")


async def _push(request: Request, account_id: int, sent: dict[str, Any], now: float) -> None:
    reading = read_stripe_event(sent)
    event = (
        reading.event if reading.event and next(find_faults(_with_fields(reading.event), now), None) is None else None
    )
    identities = check_identities([reading.identity] if reading.identity else [], now).valid
    newest = parse_instant(event["timestamp"]).timestamp() if event and event.get("timestamp") else now
    key = Key(0, account_id, False, None)
    await push(request, key, Push([event] if event else [], identities, newest), now)


def _with_fields(event: dict[str, Any]) -> dict[str, Any]:
    return {"properties": None, "timestamp": None, "event_id": None, **event}


ROUTES = (
    Route("/api/v1/webhooks/stripe", list_or_add, methods=["GET", "POST"]),
    Route("/api/v1/webhooks/stripe/{token}", take_or_remove, methods=["POST", "DELETE"]),
)
