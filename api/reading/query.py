"""Query parameters, and cursors: a page goes on where the last one ended, whatever happened in between."""

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request

from api.errors import Refused
from workers.buffer.entries import parse_instant

DEFAULT_LIMIT = 50
HIGHEST_LIMIT = 1000


def limit(request: Request, default: int = DEFAULT_LIMIT) -> int:
    """`limit`: how many rows a page has. Raises Refused."""
    given = request.query_params.get("limit")
    if given is None:
        return default
    if not re.fullmatch(r"0*[0-9]{1,4}", given, re.ASCII) or not 1 <= int(given[-4:]) <= HIGHEST_LIMIT:
        raise Refused("invalid_parameter", f"`limit` must be a whole number from 1 to {HIGHEST_LIMIT}.")
    return int(given[-4:])


def choice(request: Request, name: str, choices: Sequence[str], default: str | None = None) -> str | None:
    """A parameter that takes one of a few values. Raises Refused."""
    given = request.query_params.get(name, default)
    if given is not None and given not in choices:
        raise Refused("invalid_parameter", f"`{name}` must be one of {', '.join(choices)}.")
    return given


def moment(request: Request, name: str) -> datetime | None:
    """A parameter that is a time in ISO 8601; no offset means UTC. Raises Refused."""
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        return parse_instant(given.replace(" ", "+"))  # a + that was not escaped arrives as a blank
    except ValueError:
        raise Refused("invalid_parameter", f"`{name}` must be a time in ISO 8601, like 2025-12-01T10:00:00Z.") from None


def cursor(*position: Any) -> str:
    """The position after which the next page begins, as an opaque word."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position(request: Request, shape: type[Any]) -> Any:
    """`cursor`, decoded to a tuple of this shape; None where there is none. Raises Refused."""
    given = request.query_params.get("cursor")
    if not given:
        return None
    try:
        padded = given + "=" * (-len(given) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=shape)
    except (ValueError, RecursionError):
        raise Refused("invalid_parameter", "`cursor` must be the `next_cursor` of a page of the same list.") from None
