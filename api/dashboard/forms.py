"""What a form sends, and whether it was one of our pages that sent it."""

import asyncio
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

MAX_FORM_BYTES = 16 * 1024
MAX_FIELDS = 100
SECONDS = 20.0  # in which it has to arrive
TOKEN = "token"  # noqa: S105 - the field's name


class FormRefused(Exception):
    """A form that no page of ours sent, or that can't be read. Says what to do."""


FOREIGN = (
    "This form was not sent by this page, or the page is old: go back, reload it and try again. A proxy in front of "
    "Windback has to pass on the header Host."
)
UNREADABLE = "This form can't be read: it is too long, too slow, or no form at all."


async def read(request: Request, token: str | None) -> Mapping[str, str]:
    """The fields of a form that a page of ours sent: by its origin and, within a session, by the session's token.

    Raises FormRefused.
    """
    try:
        async with asyncio.timeout(SECONDS):
            body = await _body(request)
        parsed = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except (ValueError, TimeoutError):
        raise FormRefused(UNREADABLE) from None
    fields = {name: values[-1].replace("\0", "") for name, values in parsed.items()}
    if not _is_ours(request) or (token is not None and not _equal(fields.get(TOKEN, ""), token)):
        raise FormRefused(FOREIGN)
    return fields


async def _body(request: Request) -> bytes:
    """The body. Raises ValueError where it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise ValueError
    return body


def _is_ours(request: Request) -> bool:
    """Whether the browser says that the form comes from this site. A browser that says nothing sends no cookie of
    ours from elsewhere either: SameSite=Strict."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    hosts = (request.headers.get("host"), request.headers.get("x-forwarded-host"))
    return origin is None or urlsplit(origin).netloc in hosts


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
