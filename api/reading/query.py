"""Query parameters, and cursors: a page starts after the last row of the page before."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from difflib import get_close_matches
from functools import wraps
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.reading.common import account_of
from api.words import read_whole
from workers.buffer.entries import parse_instant

DEFAULT_LIMIT = 50
HIGHEST_LIMIT = 1000
BAD_CURSOR = "`cursor` must be the `next_cursor` of an earlier page of the same list."
LONGEST_NAME = 40  # characters of a parameter's name in a message

Endpoint = Callable[[Request], Awaitable[Response]]


def accepts(*names: str) -> Callable[[Endpoint], Endpoint]:
    """A reading route that takes these query parameters, and refuses all others: a filter that is ignored would give a
    wrong answer."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def check(request: Request) -> Response:
            if refusal := _find_refusal(request, names):
                await account_of(request)
                raise refusal
            return await endpoint(request)

        return check

    return decorate


def refuse_unknown(request: Request, names: Sequence[str]) -> None:
    """Raises Refused, invalid_parameter, if the query has another parameter than these, and names the nearest; if it
    has one twice, or one that Postgres couldn't read."""
    if refusal := _find_refusal(request, names):
        raise refusal


def _find_refusal(request: Request, names: Sequence[str]) -> Refused | None:
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in names:
            return Refused("invalid_parameter", f"There is no parameter `{name[:LONGEST_NAME]}`{_propose(name, names)}")
        if name in seen:
            return invalid(name, "may be sent once; separate several values by commas where several are allowed.")
        if "\0" in value:
            return invalid(name, "may not hold the character NUL.")
        seen.add(name)
    return None


def _propose(name: str, names: Sequence[str]) -> str:
    if not names:
        return ": this address takes none."
    nearest = get_close_matches(name.lower(), names, 1, 0.0)[0]
    return f"; did you mean `{nearest}`? There are {', '.join(names)}."


def invalid(name: str, rule: str) -> Refused:
    """The refusal of a parameter that breaks a rule."""
    return Refused("invalid_parameter", f"`{name}` {rule}")


def limit(request: Request, default: int = DEFAULT_LIMIT) -> int:
    """`limit`: the number of rows of a page. Raises Refused."""
    rows = whole_number(request, "limit", HIGHEST_LIMIT)
    return default if rows is None else rows


def whole_number(request: Request, name: str, most: int) -> int | None:
    """A parameter that is a whole number from 1 to `most`. Raises Refused."""
    text = request.query_params.get(name)
    if text is None:
        return None
    number = read_whole(text, 1, most)
    if number is None:
        raise invalid(name, f"must be a whole number from 1 to {most}.")
    return number


def choice(request: Request, name: str, choices: Sequence[str], default: str | None = None) -> str | None:
    """A parameter that takes one of a few values. Raises Refused."""
    value = request.query_params.get(name, default)
    if value is not None and value not in choices:
        raise Refused("invalid_parameter", f"`{name}` must be one of {', '.join(choices)}.")
    return value


def choices(request: Request, name: str, values: Sequence[str]) -> tuple[str, ...]:
    """A parameter that takes one or several of a few values, separated by commas. Raises Refused."""
    text = request.query_params.get(name)
    chosen = tuple(part.strip() for part in text.split(",")) if text is not None else ()
    if not set(chosen) <= set(values):
        raise invalid(name, f"must be one or several of {', '.join(values)}, separated by commas.")
    return chosen


def moment(request: Request, name: str) -> datetime | None:
    """A parameter that is a time in ISO 8601; no offset means UTC. Raises Refused."""
    text = request.query_params.get(name)
    parsed = parse_moment(text) if text is not None else None
    if text is not None and parsed is None:
        raise invalid(name, "must be a time in ISO 8601, like 2025-12-01T10:00:00Z.")
    return parsed


def parse_moment(text: str) -> datetime | None:
    """A time in ISO 8601; None if it isn't one."""
    try:
        return parse_instant(text.replace(" ", "+"))  # an unescaped + arrives as a blank
    except ValueError:
        return None


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
        raise Refused("invalid_parameter", BAD_CURSOR) from None
