"""`ETag` and `If-None-Match`: a client whose copy is current gets a 304."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response


def tag_of(content: bytes) -> str:
    """A weak tag of this content."""
    return f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def has(request: Request, tag: str) -> bool:
    """True if the request's `If-None-Match` names this tag."""
    tags = request.headers.get("If-None-Match", "").split(",")
    return tag.removeprefix("W/") in [name.strip().removeprefix("W/") for name in tags]


def not_modified(tag: str, headers: Mapping[str, str]) -> Response:
    """304: the client's copy is current. `headers` are those of the whole answer."""
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={**headers, "ETag": tag})
