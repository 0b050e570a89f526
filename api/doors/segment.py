"""Segment's own door: `POST /v1/track`, `/v1/batch` and the others, so that its libraries work with another host.

A message that says nothing usable is counted and warned of; the answer is Segment's all the same, since its libraries
would send it again for ever. Only what stands in the way of all (the key, the buffer, the size) is an error.
"""

import base64
import binascii
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth import Keys
from api.bodies import Hold, decode_object, handle, receiving
from api.doors.posthog_messages import is_posthog, read_posthog
from api.doors.segment_messages import CALLS, Json, MessageReading, read_message
from api.errors import Refused
from api.identities.identify import check as check_identities
from api.identities.pushing import Push, push
from api.track.body import receive_body
from api.track.cors import ANY_ORIGIN, allow_requested
from api.track.rules import find_faults
from workers import counters
from workers.accounts.keys import Key
from workers.buffer.entries import Identity, parse_instant

MOST_BYTES = 500 * 1024
MOST_MESSAGES = 2500
SUCCESS = b'{"success": true}'
BATCHES = ("batch", "b", "import")
WEBHOOK = "webhook"  # RudderStack's destination, whose messages are Segment's, and PostHog's


class MessageWarning(NamedTuple):
    """Why a message, or a part of it, is not read."""

    code: str
    field: str
    message: str
    event: object = None


class CheckedMessages(NamedTuple):
    """The valid part of a request's messages, and warnings about the rest. `newest`: the time of the newest event."""

    events: list[Json]
    identities: list[Identity]
    warnings: list[MessageWarning]
    newest: float = 0.0

    @property
    def parcel(self) -> Push:
        """The part that goes into the buffer."""
        return Push(self.events, self.identities, self.newest)


async def take(request: Request) -> Response:
    """`POST /v1/{call}`: one message, or a batch of them."""
    if request.method == "OPTIONS":
        return _with_headers(Response(status_code=HTTPStatus.NO_CONTENT), allow_requested(request.scope))
    try:
        await _take(request)
    except Refused as refused:
        counters.add("rejected", refused.code)
        return _with_headers(refused.response(), ANY_ORIGIN)
    return _with_headers(Response(SUCCESS, media_type="application/json"), ANY_ORIGIN)


async def show_settings(request: Request) -> Response:
    """`GET /v1/projects/{key}/settings`: answers the request that Segment's browser library makes to its CDN, and so
    leads it to this service."""
    host = f"{request.headers.get('x-forwarded-proto', request.url.scheme)}://{request.url.netloc}"
    protocol, _, netloc = host.partition("://")
    key = request.path_params["key"]
    sender = {"apiKey": key, "apiHost": f"{netloc}/v1", "protocol": protocol, "unbundledIntegrations": []}
    body = {"integrations": {"Segment.io": sender}, "plan": {"track": {"__default": {"enabled": True}}}}
    return _with_headers(Response(msgspec.json.encode(body), media_type="application/json"), ANY_ORIGIN)


async def ignore(request: Request) -> Response:
    """`POST /v1/m`: takes the library's figures on itself, and drops them."""
    if request.method == "OPTIONS":
        return _with_headers(Response(status_code=HTTPStatus.NO_CONTENT), allow_requested(request.scope))
    return _with_headers(Response(SUCCESS, media_type="application/json"), ANY_ORIGIN)


async def _take(request: Request) -> None:
    """Raises Refused."""
    call = request.path_params["call"]
    if call not in CALL_NAMES:
        raise Refused("not_found")
    body = await _receive(request)
    sent = await handle(body, lambda: decode_object(body))
    key = await _authenticate(request, sent)
    now = time.time()
    checked = await handle(body, lambda: _check(call, sent, not key.publishable, now))
    for warning in checked.warnings:
        counters.add("rejected", warning.code)
        request.app.state.door.warnings.add(key.account_id, *warning)
    await push(request, key, checked.parcel, now)


async def _receive(request: Request) -> bytes:
    hold = Hold(receiving)
    try:
        body = await receive_body(request.scope, request.receive, hold)
    finally:
        hold.release()
    if len(body) > MOST_BYTES:
        raise Refused("payload_too_large", f"The body is over {MOST_BYTES // 1024} KiB; send smaller batches.")
    return body


def _list_messages(sent: Json) -> list[object]:
    batch = sent.get("batch")
    if not isinstance(batch, list):
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


def _check(call: str, sent: Json, is_trusted: bool, now: float) -> CheckedMessages:
    """Returns what is valid of a request's messages. Raises Refused."""
    checked = CheckedMessages([], [], [])
    newest = 0.0
    identities: list[Json] = []
    for reading in _read_messages(call, sent, now):
        if reading.problem:
            checked.warnings.append(MessageWarning("customer_email_invalid", "userId", reading.problem))
        if reading.identity:
            identities.append(reading.identity)
        if reading.event and (at := _check_event(checked, reading.event, now)):
            checked.events.append(reading.event)
            newest = max(newest, at)
    checked.identities.extend(_check_identities(checked, identities, is_trusted, now))
    return checked._replace(newest=newest or now)


def _read_messages(call: str, sent: Json, now: float) -> Iterator[MessageReading]:
    if call == WEBHOOK and is_posthog(sent):
        yield read_posthog(sent)
        return
    kind = None if call in (*BATCHES, WEBHOOK) else CALLS.get(call, call)
    for message in _list_messages(sent) if call in BATCHES else [sent]:
        yield read_message(message, kind, sent.get("sentAt"), now)


def _check_event(checked: CheckedMessages, event: Json, now: float) -> float | None:
    """Returns the event's time in epoch seconds, or None if it is refused."""
    fault = next(find_faults({"properties": None, "timestamp": None, "event_id": None, **event}, now), None)
    if fault:
        checked.warnings.append(MessageWarning(fault.code, fault.field, fault.message, event.get("event")))
        return None
    timestamp = event.get("timestamp")
    return parse_instant(timestamp).timestamp() if timestamp else now


def _check_identities(checked: CheckedMessages, stated: list[Json], is_trusted: bool, now: float) -> list[Identity]:
    identities = check_identities(stated, now, is_trusted)
    for rejected in identities.rejected:
        checked.warnings.append(MessageWarning(rejected.code, rejected.field, rejected.message))
    for message in identities.unread:
        checked.warnings.append(MessageWarning("traits_invalid", "traits", message))
    return identities.valid


def _with_headers(response: Response, headers: Iterable[tuple[bytes, bytes]]) -> Response:
    names = {name for name, _ in headers}
    response.raw_headers = [*headers, *(pair for pair in response.raw_headers if pair[0] not in names)]
    return response


CALL_NAMES = (*CALLS, *CALLS.values(), *BATCHES, WEBHOOK)
METHODS = ["POST", "OPTIONS"]
ROUTES = (
    Route("/v1/projects/{key}/settings", show_settings, methods=["GET"], include_in_schema=False),
    Route("/v1/m", ignore, methods=METHODS, include_in_schema=False),
    Route("/v1/{call}", take, methods=METHODS, include_in_schema=False),
)
