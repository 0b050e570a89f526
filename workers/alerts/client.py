"""The HTTP client of messages: one pool of connections, public addresses only, no redirects, no proxies, 10 seconds.

A short answer of a receiver is read, so that its connection can be used again; a long one is cut off with its
connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import httpcore2
import httpx2
from httpcore2 import AnyIOBackend, AsyncConnectionPool, AsyncNetworkBackend, AsyncNetworkStream

from workers.alerts.addresses import PrivateAddress, resolve

logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log addresses, which may hold a secret

SECONDS = 10.0  # in which a receiver has to answer
CONNECTIONS = 512
KEEP_SECONDS = 30.0
MOST_ANSWER_BYTES = 64 * 1024


class PostResult(NamedTuple):
    """The result of sending a message: the status of the answer, or the reason why there was none."""

    status: int | None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        """True for any 2xx."""
        return self.status is not None and 200 <= self.status < 300


class PublicNetwork(AsyncNetworkBackend):
    """Connects to addresses that were looked at, and to no others."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """A connection to one of the host's addresses. Raises PrivateAddress, OSError, httpcore2.ConnectError."""
        *others, last = await resolve(host, port, self._allow_private)
        for address in others:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._sockets.connect_tcp(last, port, timeout, local_address, socket_options)


class Stream(httpx2.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._parts:
            yield part

    async def aclose(self) -> None:
        """Close it, and its connection where it isn't read to its end."""
        await self._parts.aclose()


class Transport(httpx2.AsyncBaseTransport):
    """httpx's way to the pool."""

    def __init__(self, allow_private: bool) -> None:
        self._pool = AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=CONNECTIONS,
            keepalive_expiry=KEEP_SECONDS,
            network_backend=PublicNetwork(allow_private),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As httpx does. Raises httpcore's errors."""
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx2.Response(answer.status, headers=answer.headers, stream=Stream(answer.stream))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


def open_client(allow_private: bool) -> httpx2.AsyncClient:
    """A client for as long as it is kept; for use within one event loop."""
    headers = {"User-Agent": "Windback", "Accept": "*/*", "Accept-Encoding": "identity"}
    return httpx2.AsyncClient(
        transport=Transport(allow_private), timeout=SECONDS, follow_redirects=False, trust_env=False, headers=headers
    )


async def post(client: httpx2.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> PostResult:
    """Send a message once. Faults of the receiver or the network are part of the result, never raised."""
    try:
        async with asyncio.timeout(SECONDS):
            status = await _status(client, url, body, headers)
    except (TimeoutError, httpx2.TimeoutException, httpcore2.TimeoutException):
        return PostResult(None, f"no answer within {SECONDS:g} seconds")
    except PrivateAddress as error:
        return PostResult(None, str(error))
    except Exception as error:  # whatever a receiver, a name or a network comes up with
        return PostResult(None, f"{type(error).__name__}: {error}".rstrip(": ")[:200])
    return PostResult(status, None if 200 <= status < 300 else f"answered {status}")


async def _status(client: httpx2.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> int:
    headers = {"Content-Type": "application/json", **headers}
    async with client.stream("POST", url, content=body, headers=headers) as answer:
        length = 0
        async for part in answer.aiter_raw():
            length += len(part)
            if length > MOST_ANSWER_BYTES:
                break
        return answer.status_code
