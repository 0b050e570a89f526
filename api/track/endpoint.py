"""The hot route: bytes in, events to the buffer, ok out. A plain ASGI endpoint, without Request or Response objects."""

import asyncio
import logging
import time
import zlib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.auth import Keys, header
from api.errors import Refused
from api.headers import SECURITY, Headers
from api.request_id import HEADER, id_of
from api.track.answers import Partial
from api.track.check import FIELDS, Checked, check
from scoring.events import MAX_BODY_BYTES
from workers import counters
from workers.accounts.keys import PUBLISHABLE_RATE_LIMIT, Key
from workers.buffer.entries import Request
from workers.buffer.lanes import HISTORY, HISTORY_AFTER_SECONDS, LIVE
from workers.buffer.writer import BufferFull, BufferUnavailable, Rate, RateLimited, Writer
from workers.logs import request_id
from workers.warnings import LONGEST, Warnings

log = logging.getLogger(__name__)

BODY_SECONDS = 20.0  # in which a body has to arrive
LATE = "the body is late"
ANY_ORIGIN: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"retry-after"),
    *SECURITY,
)
PREFLIGHT: Headers = (
    *ANY_ORIGIN,
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"content-type, x-api-key, content-encoding"),
    (b"access-control-max-age", b"86400"),
)
WARNED_FIELDS = 20  # of those that are not read, in one request


class TrackAnswer(NamedTuple):
    """The two ASGI messages of an answer."""

    start: Message
    body: Message


def make_answer(status: int, body: bytes, headers: Headers = ANY_ORIGIN) -> TrackAnswer:
    """Returns an answer in JSON."""
    kind = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))] if body else []
    return TrackAnswer(
        {"type": "http.response.start", "status": status, "headers": [*kind, *headers]},
        {"type": "http.response.body", "body": body},
    )


OK = make_answer(HTTPStatus.OK, b'{"status":"ok"}')


class Track:
    """`POST /api/v1/track`, and its preflight."""

    def __init__(self, keys: Keys, writers: Mapping[str, Writer], warnings: Warnings) -> None:
        self._keys, self._warnings = keys, warnings
        self._live, self._history = writers[LIVE.name], writers[HISTORY.name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            start, body = await self._answer(scope, receive)
        except ClientDisconnect:
            return
        except Exception:
            request_id.set(id_of(scope).decode())
            log.exception("a request could not be handled")
            start, body = _make_refusal(Refused("internal_error"), scope)
        counters.observe("track_seconds", time.perf_counter() - began)
        await send(start)
        await send(body)

    async def _answer(self, scope: Scope, receive: Receive) -> TrackAnswer:
        key = None
        try:
            if scope["method"] != "POST":
                return _answer_other_method(scope)
            key = await self._keys.authenticate(scope)
            body = await _receive_body(scope, receive)
            now = time.time()
            checked = check(body, now)
            if checked.rejected or checked.ignored:
                self._warn(key, checked)
            if refusal := checked.refusal:
                raise refusal
            await self._write(key, checked, now)
        except Refused as refused:
            if refused.code != "invalid_event":  # whose events are counted one by one
                counters.add("rejected", refused.code)
                if key:
                    self._warnings.add(key.account_id, refused.code, None, refused.message)
            return _make_refusal(refused, scope)
        if checked.rejected:
            partial = Partial("partial", checked.events, checked.rejected)
            return make_answer(HTTPStatus.MULTI_STATUS, msgspec.json.encode(partial))
        return OK

    def _warn(self, key: Key, checked: Checked) -> None:
        for rejected, name in zip(checked.rejected, checked.names, strict=True):
            counters.add("rejected", rejected.code)
            self._warnings.add(key.account_id, rejected.code, rejected.field, rejected.message, name)
        for ignored in checked.ignored[:WARNED_FIELDS]:
            field = ignored.field[:LONGEST]
            self._warnings.add(key.account_id, "unknown_field", field, describe_unread(field), ignored.event)

    async def _write(self, key: Key, checked: Checked, now: float) -> None:
        writer = self._live if checked.newest > now - HISTORY_AFTER_SECONDS else self._history
        request = Request(key.account_id, int(now * 1_000_000), checked.body)
        try:
            await writer.write(request, checked.events, _find_rate(key))
        except BufferUnavailable:
            raise Refused("buffer_unavailable") from None
        except BufferFull:
            raise Refused("buffer_full") from None
        except RateLimited as limited:
            raise Refused("rate_limited", retry_after_seconds=limited.wait_seconds) from None


@lru_cache(maxsize=1000)
def describe_unread(field: str) -> str:
    """Returns the warning for a field that is not read."""
    near = get_close_matches(field.lower(), (*FIELDS, "events"), n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ". Put data of your own into `properties`."
    return f"`{field}` is not a field of an event and was ignored{hint}"


def _find_rate(key: Key) -> Rate | None:
    """Returns the key's limit: its own, or else the default of publishable keys, which anybody can read."""
    limit = key.rate_limit or (PUBLISHABLE_RATE_LIMIT if key.publishable else None)
    return Rate(key.key_id, limit) if limit else None


def _make_refusal(refused: Refused, scope: Scope) -> TrackAnswer:
    """Returns a refusal. It carries the request's id, as do the log records of the request."""
    id_ = (request_id.get() or "").encode() or id_of(scope)
    log.debug("refused", extra={"code": refused.code, "request_id": id_.decode()})
    headers = [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    return make_answer(refused.status, refused.body, [*ANY_ORIGIN, (HEADER, id_), *headers])


def _answer_other_method(scope: Scope) -> TrackAnswer:
    if scope["method"] != "OPTIONS":
        refused = Refused("method_not_allowed", "Send events with POST.")
        return make_answer(refused.status, refused.body, [*ANY_ORIGIN, (b"allow", b"POST, OPTIONS")])
    return make_answer(HTTPStatus.NO_CONTENT, b"", PREFLIGHT)


async def _receive_body(scope: Scope, receive: Receive) -> bytes:
    """Returns the body, decompressed. Raises Refused, with the codes of bodies."""
    encoding = header(scope, b"content-encoding").strip().lower()
    if encoding not in (b"", b"identity", b"gzip"):
        raise Refused("unsupported_encoding")
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise Refused("payload_too_large")
    task = asyncio.current_task()
    assert task
    late = asyncio.get_running_loop().call_later(BODY_SECONDS, task.cancel, LATE)  # cheaper than asyncio.timeout
    try:
        return await (_receive_gzip(receive) if encoding == b"gzip" else _receive_plain(receive))
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (LATE,):
            raise
        task.uncancel()
        raise Refused("body_timeout") from None
    finally:
        late.cancel()


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    """Returns the next part of the body, and whether there are more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), bool(message.get("more_body"))


async def _receive_plain(receive: Receive) -> bytes:
    part, more = await _receive_part(receive)
    if not more and len(part) <= MAX_BODY_BYTES:  # nearly always
        return part
    parts, size = [part], len(part)
    while more and size <= MAX_BODY_BYTES:
        part, more = await _receive_part(receive)
        parts.append(part)
        size += len(part)
    if size > MAX_BODY_BYTES:
        raise Refused("payload_too_large")
    return b"".join(parts)


async def _receive_gzip(receive: Receive) -> bytes:
    parts: list[bytes] = []
    received, room = 0, MAX_BODY_BYTES
    unzip = _start_member()
    more = True
    while more:
        packed, more = await _receive_part(receive)
        received += len(packed)
        if received > MAX_BODY_BYTES:
            raise Refused("payload_too_large")
        while packed:
            if unzip.eof:  # a file may be a series of members: RFC 1952
                unzip = _start_member()
            try:
                parts.append(unzip.decompress(packed, room + 1))
            except zlib.error:
                raise Refused("malformed_gzip") from None
            room -= len(parts[-1])
            if room < 0 or unzip.unconsumed_tail:
                raise Refused("payload_too_large")
            packed = unzip.unused_data
    if not unzip.eof:
        raise Refused("malformed_gzip", "The gzip body ends too early.")
    return b"".join(parts)


def _start_member() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=31)
