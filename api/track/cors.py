"""Tracking from browsers, from any site (CORS)."""

import re

from starlette.requests import HTTPConnection
from starlette.types import Scope

from api.auth import header
from api.headers import SECURITY, Headers
from api.origins import is_same_origin

ANY_ORIGIN: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"retry-after"),
    *SECURITY,
)
USUAL_HEADERS = b"content-type, x-api-key, content-encoding"
NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
LONGEST_NAMES = 4096
LONGEST_SITE = 100
IN_BROWSER = "A secret key was sent from a browser at {}: revoke it, and use a publishable key (pk_live_…) there."


def allow_requested(scope: Scope) -> Headers:
    """Headers of a preflight's answer. They allow the headers that are asked for: tracing adds its own to any call."""
    asked = header(scope, b"access-control-request-headers").strip()
    is_valid = len(asked) <= LONGEST_NAMES and NAMES.fullmatch(asked)
    return (
        *ANY_ORIGIN,
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"%b, %b" % (USUAL_HEADERS, asked) if is_valid else USUAL_HEADERS),
        (b"access-control-max-age", b"86400"),
        (b"vary", b"access-control-request-headers"),
    )


def find_foreign_site(scope: Scope) -> str | None:
    """The origin of another site's page, if one sent the request."""
    origin = header(scope, b"origin")
    if not origin or is_same_origin(HTTPConnection(scope)):
        return None
    return origin[:LONGEST_SITE].decode("latin-1")
