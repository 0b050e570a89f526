"""Segment's own door: `POST /v1/track`, `/v1/batch` and the others, so that its libraries work with another host.

A message that says nothing usable is counted and warned of; the answer is Segment's all the same, since its libraries
would send it again for ever. Only what stands in the way of all (the key, the buffer, the size) is an error.
"""

import base64
import binascii
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth import Keys
from api.doors.posthog_messages import is_posthog, read_posthog
from api.doors.segment_messages import CALLS, Json, MessageReading, read_message
from api.errors import Refused
from api.identities.identify import check as check_identities
from api.identities.pushing import Parcel, push
from api.track.body import Hold, Receiving, receive_body
from api.track.cors import ANY_ORIGIN, allow_asked
from api.track.rules import find_faults
from workers import counters
from workers.accounts.keys import Key
from workers.buffer.entries import Identity, parse_instant

MOST_BYTES = 500 * 1024
MOST_MESSAGES = 2500
SUCCESS = b'{"success": true}'
BATCHES = ("batch", "b", "import")
WEBHOOK = "webhook"  # RudderStack's destination, whose messages are Segment's, and PostHog's


async def take(request: Request) -> Response:
    """`POST /v1/{call}`: one message, or a batch of them."""
    if request.method == "OPTIONS":
        return _with_headers(Response(status_code=HTTPStatus.NO_CONTENT), allow_asked(request.scope))
    try:
        await _take(request)
    except Refused as refused:
        counters.add("rejected", refused.code)
        return _with_headers(refused.response(), ANY_ORIGIN)
    return _with_headers(Response(SUCCESS, media_type="application/json"), ANY_ORIGIN)


async def show_settings(request: Request) -> Response:
    """`GET /v1/projects/{key}/settings`: what Segment's browser library asks its CDN for. It sends to this service."""
    host = f"{request.headers.get('x-forwarded-proto', request.url.scheme)}://{request.url.netloc}"
    protocol, _, netloc = host.partition("://")
    key = request.path_params["key"]
    sender = {"apiKey": key, "apiHost": f"{netloc}/v1", "protocol": protocol, "unbundledIntegrations": []}
    body = {"integrations": {"Segment.io": sender}, "plan": {"track": {"__default": {"enabled": True}}}}
    return _with_headers(Response(msgspec.json.encode(body), media_type="application/json"), ANY_ORIGIN)


async def ignore(request: Request) -> Response:
    """`POST /v1/m`: the library's figures on itself, which nobody needs here."""
    if request.method == "OPTIONS":
        return _with_headers(Response(status_code=HTTPStatus.NO_CONTENT), allow_asked(request.scope))
    return _with_headers(Response(SUCCESS, media_type="application/json"), ANY_ORIGIN)


async def _take(request: Request) -> None:
    """Raises Refused."""
    call = request.path_params["call"]
    if call not in CALL_NAMES:
        raise Refused("not_found")
    sent = _decode(await _receive(request))
    key = await _authenticate(request, sent)
    messages = _list_messages(sent) if call in BATCHES else [sent]
    kind = None if call in (*BATCHES, WEBHOOK) else CALLS.get(call, call)
    now = time.time()
    if call == WEBHOOK and is_posthog(sent):
        readings = [read_posthog(sent)]
    else:
        readings = [read_message(message, kind, sent.get("sentAt"), now) for message in messages]
    await push(request, key, _make_parcel(request, key, readings, now), now)


async def _receive(request: Request) -> bytes:
    hold = Hold(_receiving)
    try:
        body = await receive_body(request.scope, request.receive, hold)
    finally:
        hold.release()
    if len(body) > MOST_BYTES:
        raise Refused("payload_too_large", f"The body is over {MOST_BYTES // 1024} KiB; send smaller batches.")
    return body


def _decode(body: bytes) -> Json:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise Refused("malformed_json") from None


def _list_messages(sent: Json) -> list[Json]:
    batch = sent.get("batch")
    if not isinstance(batch, list) or not all(isinstance(message, dict) for message in batch):
        raise Refused("malformed_json", "`batch` must be a list of messages.")
    if len(batch) > MOST_MESSAGES:
        message = f"The batch has {len(batch)} messages; at most {MOST_MESSAGES} are taken. Split it."
        raise Refused("batch_too_large", message)
    return batch


async def _authenticate(request: Request, sent: Json) -> Key:
    """The key is the user of Basic auth, the body's `writeKey`, or in our own header. Raises Refused."""
    keys: Keys = request.app.state.door.keys
    secret = _read_basic(request) or sent.get("writeKey") or request.headers.get("x-api-key", "")
    scope = {"headers": [(b"x-api-key", str(secret).encode())]}
    return await keys.authenticate(scope)


def _read_basic(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        raise Refused("invalid_api_key") from None


def _make_parcel(request: Request, key: Key, readings: Iterable[MessageReading], now: float) -> Parcel:
    """Returns the events and identities that are valid; warns of the others."""
    events: list[Json] = []
    said: list[Json] = []
    newest = 0.0
    for reading in readings:
        if reading.problem:
            _warn(request, key, "customer_email_invalid", "userId", reading.problem)
        if reading.identity:
            said.append(reading.identity)
        if reading.event and (at := _check_event(request, key, reading.event, now)):
            events.append(reading.event)
            newest = max(newest, at)
    return Parcel(events, _check_identities(request, key, said, now), newest or now)


def _check_event(request: Request, key: Key, event: Json, now: float) -> float | None:
    """Returns the event's time in epoch seconds, or None where it is refused."""
    fault = next(find_faults({"properties": None, "timestamp": None, "event_id": None, **event}, now), None)
    if fault:
        _warn(request, key, fault.code, fault.field, fault.message, event.get("event"))
        return None
    timestamp = event.get("timestamp")
    return parse_instant(timestamp).timestamp() if timestamp else now


def _check_identities(request: Request, key: Key, said: list[Json], now: float) -> list[Identity]:
    checked = check_identities(said, now, trusted=not key.publishable)
    for rejected in checked.rejected:
        _warn(request, key, rejected.code, rejected.field, rejected.message)
    for message in checked.unread:
        _warn(request, key, "traits_invalid", "traits", message)
    return checked.valid


def _warn(request: Request, key: Key, code: str, field: str, message: str, event: object = None) -> None:
    counters.add("rejected", code)
    request.app.state.door.warnings.add(key.account_id, code, field, message, event)


def _with_headers(response: Response, headers: Iterable[tuple[bytes, bytes]]) -> Response:
    known = {name for name, _ in headers}
    response.raw_headers = [*headers, *(pair for pair in response.raw_headers if pair[0] not in known)]
    return response


_receiving = Receiving()
CALL_NAMES = (*CALLS, *CALLS.values(), *BATCHES, WEBHOOK)
METHODS = ["POST", "OPTIONS"]
ROUTES = (
    Route("/v1/projects/{key}/settings", show_settings, methods=["GET"], include_in_schema=False),
    Route("/v1/m", ignore, methods=METHODS, include_in_schema=False),
    Route("/v1/{call}", take, methods=METHODS, include_in_schema=False),
)
