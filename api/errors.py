"""Every refusal: its code, status and message. Codes are stable; the README lists them all."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.headers import Headers as Headers
from api.headers import secured
from workers.cells import Cell


class Code(NamedTuple):
    """The HTTP status of a code, and its usual message."""

    status: int
    message: str


CODES: Mapping[str, Code] = {
    "malformed_http": Code(400, "This is not valid HTTP/1.1; percent-encode the path."),
    "malformed_json": Code(400, "The body must be a JSON object in UTF-8."),
    "malformed_gzip": Code(400, "Content-Encoding is gzip, but the body can't be decompressed."),
    "invalid_signature": Code(400, "The header Stripe-Signature doesn't fit the body and the secret, or is too old."),
    "missing_api_key": Code(401, "Send your key in the header X-API-Key."),
    "invalid_api_key": Code(401, "This API key is unknown or revoked; `windback keys list` shows the valid ones."),
    "key_not_allowed": Code(403, "A publishable key may only track events; use a secret key (sk_live_…) here."),
    "not_found": Code(404, "Page not found; /docs lists the routes."),
    "customer_not_found": Code(404, "No customer of this account has this e-mail address."),
    "webhook_not_found": Code(404, "This account has no webhook with this id; GET /api/v1/webhooks lists them."),
    "alert_not_found": Code(404, "This account has no alert with this id; GET /api/v1/alerts lists them."),
    "event_not_found": Code(404, "This account has never sent an event of this name; case is kept."),
    "method_not_allowed": Code(405, "This address doesn't support this method."),
    "body_timeout": Code(408, "The body did not arrive within 20 seconds; send it again."),
    "payload_too_large": Code(413, "The body is over 4 MiB after decompression; send smaller batches."),
    "batch_too_large": Code(413, "A batch takes at most 100 events; split it."),
    "unsupported_encoding": Code(415, "Content-Encoding must be gzip or identity."),
    "invalid_event": Code(422, "No event of the request is valid; `rejected` lists the reasons."),
    "invalid_identity": Code(422, "No identity of the request is valid; `rejected` says why."),
    "invalid_merge": Code(422, "These customers can't be merged; `message` says why."),
    "invalid_mapping": Code(422, "These mappings can't be used; `message` says which and why."),
    "invalid_webhook": Code(422, "A webhook can't be like this; the message names the field and the rule."),
    "invalid_template": Code(422, "This can't be a template; the message names the line and what is wrong."),
    "invalid_handling": Code(422, "A handling can't be like this; the message names the field and the rule."),
    "invalid_parameter": Code(422, "A query parameter is invalid."),
    "rate_limited": Code(429, "This key's limit of events per second is reached; wait for the seconds in Retry-After."),
    "headers_too_large": Code(431, "The headers are over 64 KiB; send fewer or shorter ones."),
    "internal_error": Code(500, "The service failed, and logged why. Try again."),
    "buffer_unavailable": Code(503, "The buffer (Redis) is not available; send it again."),
    "buffer_full": Code(503, "The buffer is full; send it again after the seconds in Retry-After."),
    "overloaded": Code(503, "Too many large bodies are being received; send it again."),
    "store_unavailable": Code(503, "The database is not available; try again. Tracking goes on."),
}
RETRY_AFTER_SECONDS = {
    "rate_limited": 1,
    "buffer_unavailable": 1,
    "buffer_full": 5,
    "overloaded": 1,
    "store_unavailable": 5,
}
BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def code_of(status: int) -> str:
    """The code of an answer that has only a status."""
    return BY_STATUS.get(status, "internal_error")


class Refused(Exception):
    """A request is refused with a code of the table. `more` joins the body: the `rejected` list."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        more: Mapping[str, object] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(code)
        self.retry_after_seconds = retry_after_seconds or RETRY_AFTER_SECONDS.get(code)
        self.code = code
        self.status, standard = CODES[code]
        self.message = message or standard
        self.more = more or {}

    @property
    def body(self) -> bytes:
        """The answer's JSON."""
        return msgspec.json.encode({"status": "error", "code": self.code, "message": self.message, **self.more})

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer besides its type."""
        return {"Retry-After": str(self.retry_after_seconds)} if self.retry_after_seconds else {}

    def response(self) -> Response:
        """Returns the answer as a Response."""
        response = Response(self.body, self.status, self.headers, "application/json")
        response.raw_headers = secured(response.raw_headers)  # outside the middleware, too
        return response


async def on_refused(request: Request, error: Exception) -> Response:
    """Answers a refusal."""
    assert isinstance(error, Refused)
    return error.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answers Starlette's own refusals in our format."""
    assert isinstance(error, HTTPException)
    refused = Refused(code_of(error.status_code))
    response = refused.response()
    response.headers.update(error.headers or {})
    return response


async def on_error(request: Request, error: Exception) -> Response:
    """An unexpected exception: the server logs it; the answer shows nothing of it."""
    return Refused("internal_error").response()


def explain_absence(place: Cell | None) -> str | None:
    """Returns which cell's database is not available, in words; None where it is home's."""
    if place is None or place.number is None:
        return None
    return (
        f"The database of cell {place.name} is not available, so nothing can be said of all customers; try again."
        " Customers of other cells can be read. Tracking goes on."
    )
