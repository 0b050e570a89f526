"""The id of a request: the client's `X-Request-Id`, or else a new one. It stands in the answer and in every log record
of the request."""

import logging
import re
import secrets
import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import header
from workers.logs import request_id

log = logging.getLogger(__name__)

HEADER = b"x-request-id"
SAFE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
QUIET = ("/healthz", "/readyz", "/metrics", "/static/")  # asked all the time, by machines


def id_of(scope: Scope) -> bytes:
    """The id of a request, new where the client gave none that may stand in a log."""
    sent = header(scope, HEADER)
    return sent if SAFE.fullmatch(sent) else secrets.token_hex(8).encode()


async def identified(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app for one request: its records and its answer carry the id; how it was answered is logged."""
    began = time.perf_counter()
    id_ = id_of(scope)
    request_id.set(id_.decode())  # every request has a task, and so a context, of its own

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (HEADER, id_)]
            _log(scope, message["status"], time.perf_counter() - began)
        await send(message)

    await app(scope, receive, sending)


def _log(scope: Scope, status: int, seconds: float) -> None:
    """The record names the endpoint: the path may hold an address. Reading that went well, thousands of times an hour,
    is worth a record to debug with only."""
    level = logging.DEBUG if _is_quiet(scope, status) else logging.INFO
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        level = logging.WARNING
    endpoint = getattr(scope.get("endpoint"), "__name__", None)
    answered = {"method": scope["method"], "endpoint": endpoint, "status": status, "ms": round(seconds * 1000, 1)}
    log.log(level, "answered", extra=answered)


def _is_quiet(scope: Scope, status: int) -> bool:
    reads = scope["method"] in ("GET", "HEAD") and status < HTTPStatus.BAD_REQUEST
    return bool(reads or scope["path"].startswith(QUIET))
