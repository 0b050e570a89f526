"""The address of a service, and connections to it: directly, or through the proxy that the environment names."""

import base64
import http.client
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

SECRET = "…"  # noqa: S105 - what is shown in place of one


class AddressFault(Exception):
    """A URL can't be used. The message says why, and shows no password."""


@dataclass(frozen=True)
class Address:
    """A service's address. `shown` is its URL without user and password; `prefix` comes before the path of a request;
    `headers` are those of the service itself."""

    host: str
    port: int | None
    is_https: bool
    prefix: str
    shown: str
    headers: dict[str, str]
    proxy: SplitResult | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, url: str, *, direct: bool = False) -> Self:
        """The address in a URL, with the proxy for it unless `direct`. Raises AddressFault."""
        parts, host, port = _split(url.strip(), "--url")
        where = f"[{host}]" if ":" in host else host
        shown = f"{parts.scheme}://{where}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
        proxy = None if direct else _find_proxy(parts.scheme, f"{host}:{port}" if port else host)
        through = proxy is not None and parts.scheme == "http"
        return cls(
            host,
            port,
            parts.scheme == "https",
            shown if through else parts.path.rstrip("/"),
            shown,
            {**_authorization("Authorization", parts), **(_proxy_headers(proxy) if through else {})},
            proxy,
            tuple(filter(None, (parts.password, unquote(parts.password or ""), proxy and proxy.password))),
        )

    def hide(self, text: str) -> str:
        """A text of the connection's, without passwords."""
        for secret in self.secrets:
            text = text.replace(secret, SECRET)
        return text


def connect(address: Address, timeout_seconds: float) -> http.client.HTTPConnection:
    """A connection, which opens itself with the first request."""
    kind = http.client.HTTPSConnection if address.is_https else http.client.HTTPConnection
    if address.proxy is None:
        return kind(address.host, address.port, timeout=timeout_seconds)
    connection = kind(address.proxy.hostname or "", address.proxy.port or 80, timeout=timeout_seconds)
    if address.is_https:
        connection.set_tunnel(address.host, address.port or 443, _proxy_headers(address.proxy))
    return connection


def _split(url: str, name: str) -> tuple[SplitResult, str, int | None]:
    """A URL's parts, its host and its port. Raises AddressFault, in whose message no password stands."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressFault(f"{name} can't be read; percent-encode special characters of user and password") from None
    if parts.scheme not in ("http", "https") or not host:
        shown = "" if "@" in url else f" {url}"
        raise AddressFault(f"{name}{shown} is not the URL of a service; write it like http://127.0.0.1:8000")
    return parts, host, port


def _find_proxy(scheme: str, host: str) -> SplitResult | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name, unless NO_PROXY excepts the host."""
    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or proxy_bypass(host):
        return None
    parts, _, _ = _split(url if "://" in url else f"http://{url}", f"{scheme.upper()}_PROXY")
    return parts


def _proxy_headers(proxy: SplitResult | None) -> dict[str, str]:
    return {} if proxy is None else _authorization("Proxy-Authorization", proxy)


def _authorization(name: str, parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {name: f"Basic {base64.b64encode(both.encode()).decode()}"}
