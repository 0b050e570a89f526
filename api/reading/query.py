"""Query parameters, and cursors: a page starts after the last row of the page before."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request

from api.errors import Refused
from workers.buffer.entries import parse_instant

DEFAULT_LIMIT = 50
HIGHEST_LIMIT = 1000
BAD_CURSOR = "`cursor` must be the `next_cursor` of an earlier page of the same list."
LONGEST_NUMBER = 6  # characters


def limit(request: Request, default: int = DEFAULT_LIMIT) -> int:
    """`limit`: the number of rows of a page. Raises Refused."""
    rows = whole_number(request, "limit", HIGHEST_LIMIT)
    return default if rows is None else rows


def whole_number(request: Request, name: str, most: int) -> int | None:
    """A parameter that is a whole number from 1 to `most`. Raises Refused."""
    text = request.query_params.get(name)
    if text is None:
        return None
    digits = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    if not digits or not 1 <= int(text) <= most:
        raise Refused("invalid_parameter", f"`{name}` must be a whole number from 1 to {most}.")
    return int(text)


def choice(request: Request, name: str, choices: Sequence[str], default: str | None = None) -> str | None:
    """A parameter that takes one of a few values. Raises Refused."""
    value = request.query_params.get(name, default)
    if value is not None and value not in choices:
        raise Refused("invalid_parameter", f"`{name}` must be one of {', '.join(choices)}.")
    return value


def moment(request: Request, name: str) -> datetime | None:
    """A parameter that is a time in ISO 8601; no offset means UTC. Raises Refused."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return parse_instant(text.replace(" ", "+"))  # an unescaped + arrives as a blank
    except ValueError:
        raise Refused("invalid_parameter", f"`{name}` must be a time in ISO 8601, like 2025-12-01T10:00:00Z.") from None


def encode_cursor(*position: Any) -> str:
    """The position of the last row of a page, as an opaque word."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position(request: Request, shape: type[Any]) -> Any:
    """`cursor`, decoded to a tuple of this shape; None without one. Raises Refused."""
    text = request.query_params.get("cursor")
    if not text:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=shape)
    except (ValueError, RecursionError):
        raise Refused(
            "invalid_parameter", "`cursor` must be the `next_cursor` of an earlier page of the same list."
        ) from None
