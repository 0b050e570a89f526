"""The hot route: bytes in, events to the buffer, ok out. A plain ASGI endpoint, without Request or Response objects."""

import logging
import time
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.auth import Keys
from api.bodies import Hold, handle, receiving
from api.buffers import Buffers
from api.errors import Refused
from api.headers import Headers
from api.request_id import HEADER, id_of
from api.track.answers import Partial, Rejected
from api.track.body import receive_body
from api.track.check import check_quickly, is_heavy
from api.track.cors import ANY_ORIGIN, IN_BROWSER, allow_requested, find_foreign_site
from api.track.judge import Checked, judge
from api.track.rules import FIELDS, OTHER_NAMES
from scoring.events import MAX_BATCH, MAX_BODY_BYTES
from workers import counters
from workers.accounts.keys import PUBLISHABLE_RATE_LIMIT, Key
from workers.buffer.entries import Request
from workers.buffer.lanes import HISTORY, HISTORY_AFTER_SECONDS, LIVE
from workers.buffer.parts import split_events
from workers.buffer.writer import BufferFull, BufferUnavailable, Rate, RateLimited
from workers.logs import request_id
from workers.warnings import LONGEST, Warnings

log = logging.getLogger(__name__)

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

    def __init__(self, keys: Keys, buffers: Buffers, warnings: Warnings) -> None:
        self._keys, self._buffers, self._warnings = keys, buffers, warnings
        self._charges = buffers.charges

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
        if scope["method"] != "POST":
            return _answer_other_method(scope)
        key, hold = None, Hold(receiving)
        try:
            key = await self._keys.authenticate(scope)
            if not key.publishable and (site := find_foreign_site(scope)):
                self._warnings.add(key.account_id, "secret_key_in_browser", None, IN_BROWSER.format(site))
            checked = await self._take(key, scope, receive, hold)
        except Refused as refused:
            return _make_refusal(self._note_refusal(key, refused), scope)
        finally:
            hold.release()
        if checked.rejected:
            partial = Partial("partial", checked.events, checked.rejected)
            return make_answer(HTTPStatus.MULTI_STATUS, msgspec.json.encode(partial))
        return OK

    async def accept(self, key: Key, body: bytes) -> Sequence[Rejected]:
        """Take a body that doesn't come over HTTP. Returns the events that are refused; the others are in the buffer.
        Raises Refused: buffer_unavailable, buffer_full."""
        now = time.time()
        checked = await self._check(body, now)
        if checked.rejected or checked.ignored:
            self._warn(key, checked)
        if checked.events:
            try:
                await self._write(key, None, checked, now)
            except BufferUnavailable:
                raise Refused("buffer_unavailable") from None
            except BufferFull:
                raise Refused("buffer_full") from None
        return checked.rejected

    async def _take(self, key: Key, scope: Scope, receive: Receive, hold: Hold) -> Checked:
        """Returns what a request holds, once its events are in the buffer. Raises Refused."""
        rate = find_rate(key)
        try:
            if rate:
                self._charges.check(rate)
            try:
                body = await receive_body(scope, receive, hold)
                now = time.time()
                checked = await self._check(body, now)
                if checked.rejected or checked.ignored:
                    self._warn(key, checked)
                if refusal := checked.refusal:
                    raise refusal
            except Refused as refused:
                if rate and refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    await self._charges.charge(rate, _find_cost(refused, hold.bytes))
                raise
            await self._write(key, rate, checked, now)
        except BufferUnavailable:
            raise Refused("buffer_unavailable") from None
        except BufferFull:
            raise Refused("buffer_full") from None
        except RateLimited as limited:
            raise Refused("rate_limited", retry_after_seconds=limited.wait_seconds) from None
        return checked

    async def _check(self, body: bytes, now: float) -> Checked:
        """Returns what a body holds. Raises Refused: malformed_json, batch_too_large."""
        if not is_heavy(body) and (checked := check_quickly(body, now, len(self._buffers.cells) > 1)):
            return checked
        return await handle(body, lambda: judge(body, now))

    def _note_refusal(self, key: Key | None, refused: Refused) -> Refused:
        if refused.code != "invalid_event":  # whose events are counted one by one
            counters.add("rejected", refused.code)
            if key:
                self._warnings.add(key.account_id, refused.code, None, refused.message)
        return refused

    def _warn(self, key: Key, checked: Checked) -> None:
        for rejected, name in zip(checked.rejected, checked.names, strict=True):
            counters.add("rejected", rejected.code)
            self._warnings.add(key.account_id, rejected.code, rejected.field, rejected.message, name)
        for ignored in checked.ignored[:WARNED_FIELDS]:
            field = ignored.field[:LONGEST]
            self._warnings.add(key.account_id, "unknown_field", field, describe_unread(field), ignored.event)

    async def _write(self, key: Key, rate: Rate | None, checked: Checked, now: float) -> None:
        lane = LIVE.name if checked.newest > now - HISTORY_AFTER_SECONDS else HISTORY.name
        received_us = int(now * 1_000_000)
        cells = self._buffers.cells
        if len(cells) == 1:
            await cells[0].write(lane, Request(key.account_id, received_us, checked.body), checked.events, rate)
        else:
            parts = split_events(key.account_id, checked.body, checked.customers, len(cells))
            await self._buffers.write(lane, key.account_id, received_us, parts, rate)


@lru_cache(maxsize=1000)
def describe_unread(field: str) -> str:
    """Returns the warning for a field that is not read."""
    usual = field.lower().replace("-", "_")
    near = [OTHER_NAMES[usual]] if usual in OTHER_NAMES else get_close_matches(usual, (*FIELDS, "events"), n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ". Put data of your own into `properties`."
    return f"`{field}` is not a field of an event and was ignored{hint}"


def find_rate(key: Key) -> Rate | None:
    """Returns the key's limit: its own, or else the default of publishable keys, which anybody can read."""
    limit = key.rate_limit or (PUBLISHABLE_RATE_LIMIT if key.publishable else None)
    return Rate(key.key_id, limit) if limit else None


def _find_cost(refused: Refused, received: int) -> int:
    """Returns the events that a refused request counts as: those that were judged, or as many as its bytes could be."""
    rejected = refused.more.get("rejected")
    return max(len(rejected) if isinstance(rejected, Sequence) else 1, received * MAX_BATCH // MAX_BODY_BYTES)


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
    return make_answer(HTTPStatus.NO_CONTENT, b"", allow_requested(scope))
