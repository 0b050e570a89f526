"""Finds the address under which a browser knows this service, also behind proxies, and if a request comes from there.

Origins are compared as RFC 6454 does: scheme, host in any case, and port with its default. Of a list that several
proxies wrote, the first entry is the browser's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

DEFAULT_PORTS = {"http": 80, "https": 443}
FORWARDED = re.compile(r'\s*(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*(?:;|$)')  # RFC 7239


class Place(NamedTuple):
    """A host and a port; a port of None is the default one of the scheme."""

    host: str
    port: int | None


def is_same_origin(request: HTTPConnection) -> bool:
    """False if the browser says that another site sent the request. Programs say nothing: True."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # no script can set it
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or _is_ours(origin, request)


def is_https(request: HTTPConnection) -> bool:
    """Returns whether the browser speaks TLS, with us or with a proxy before us."""
    return (_find_scheme(request) or request.url.scheme) == "https"


def find_public_url(request: HTTPConnection) -> str:
    """Returns the address of this service as the browser knows it, without a path."""
    return f"{'https' if is_https(request) else 'http'}://{next(_list_hosts(request), request.url.netloc)}"


def _is_ours(origin: str, request: HTTPConnection) -> bool:
    scheme, place = _parse_origin(origin)
    ours = _find_scheme(request) or ("https" if request.url.scheme == "https" else None)  # None: a proxy may end TLS
    if place is None or (ours is not None and scheme != ours):
        return False
    port = place.port or DEFAULT_PORTS[scheme]
    candidates = filter(None, map(_parse_place, _list_hosts(request)))
    return any((host, port_ or DEFAULT_PORTS[scheme]) == (place.host, port) for host, port_ in candidates)


def _parse_origin(origin: str) -> tuple[str, Place | None]:
    scheme, _, rest = origin.partition("://")
    scheme = scheme.lower()
    return scheme, _parse_place(rest) if scheme in DEFAULT_PORTS else None


def _parse_place(text: str) -> Place | None:
    """A host and port as headers have it, or None where it isn't that."""
    if not text or any(character in text for character in "/?#@\\ ,"):
        return None
    try:
        parts = urlsplit(f"//{text}")
        return Place(parts.hostname.rstrip("."), parts.port) if parts.hostname else None
    except ValueError:
        return None


def _list_hosts(request: HTTPConnection) -> Iterator[str]:
    """The names under which the browser may know us, the most likely first."""
    headers = request.headers
    for host in (_parse_forwarded(headers).get("host"), _first(headers.get("x-forwarded-host")), headers.get("host")):
        if host and _parse_place(host):
            yield host


def _find_scheme(request: HTTPConnection) -> str | None:
    """The browser's scheme, as a proxy tells it."""
    scheme = _parse_forwarded(request.headers).get("proto") or _first(request.headers.get("x-forwarded-proto"))
    return scheme.lower() if scheme and scheme.lower() in DEFAULT_PORTS else None


def _first(values: str | None) -> str | None:
    return values.partition(",")[0].strip() if values else None


def _parse_forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """The first element of the header Forwarded."""
    first = re.split(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', headers.get("forwarded", ""), maxsplit=1)[0]
    return {name.lower(): quoted or plain for name, quoted, plain in FORWARDED.findall(first)}
