"""Fields of a submitted form, and the proof that one of our pages sent it."""

import asyncio
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import Request

from api.origins import is_same_origin

MAX_FORM_BYTES = 16 * 1024
MAX_FIELDS = 100
SECONDS = 20.0  # for the form to arrive
TOKEN = "token"  # noqa: S105 - the field's name


class FormRefused(Exception):
    """The form can't be read, or another site sent it. The message tells the user what to do."""


FOREIGN = (
    "This form is out of date, or another site sent it. Go back, reload the page and try again. If that doesn't help, "
    "the proxy in front of Windback must pass on the headers Host and X-Forwarded-Proto."
)
UNREADABLE = "This form can't be read. It must be short and arrive within 20 seconds; reload the page and try again."


async def read(
    request: Request, token: str | None, most_bytes: int = MAX_FORM_BYTES, most_fields: int = MAX_FIELDS
) -> Mapping[str, str]:
    """Returns the fields of a form that one of our pages sent: its origin and, in a session, its token prove it.

    Raises FormRefused.
    """
    try:
        async with asyncio.timeout(SECONDS):
            body = await _body(request, most_bytes)
        parsed = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=most_fields)
    except (ValueError, TimeoutError):
        raise FormRefused(UNREADABLE) from None
    fields = {name: values[-1].replace("\0", "") for name, values in parsed.items()}
    if not is_same_origin(request) or (token is not None and not is_ours(fields, token)):
        raise FormRefused(FOREIGN)
    return fields


def is_ours(fields: Mapping[str, str], token: str) -> bool:
    """Returns whether a form of this session sent these fields."""
    return hmac.compare_digest(fields.get(TOKEN, "").encode(), token.encode())


async def _body(request: Request, most_bytes: int) -> bytes:
    """Raises ValueError if the body is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise ValueError
    return body
