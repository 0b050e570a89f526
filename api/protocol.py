"""uvicorn's HTTP, with four things mended: heads end in size and in time, it refuses in our shape, and it reads the
bodies of clients that offer an upgrade, as Java's HttpClient does with every request unless told otherwise."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import Refused
from api.headers import secured

HEAD_BYTES = 64 * 1024  # of a head, or of trailers, as they come: nobody needs a key to send them
HEAD_SECONDS = 20.0  # in which a head has to be whole
FRAMING = (b"content-length", b"transfer-encoding")


class Protocol(HttpToolsProtocol):
    """The protocol of one connection."""

    _head_bytes = 0  # received since something came of what was received
    _head_timer: asyncio.TimerHandle | None = None
    _resuming = False

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        self._head_is_whole()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client's."""
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._resume(data[offered.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._head_bytes and self._head_timer is None and not self.transport.is_closing():
            self._expect_head()
        if self._head_bytes > HEAD_BYTES:
            self._refuse(Refused("headers_too_large"), b"431 Request Header Fields Too Large")

    def _resume(self, rest: bytes) -> None:
        """Go on as if no upgrade had been offered: the head stands, and a new parser reads the body."""
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in FRAMING)
        self.parser = httptools.HttpRequestParser(self)
        self._resuming = True
        self.cycle.more_body = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        if rest:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._resuming:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        if not self._resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers, which come after the head, are left out."""
        if not self._resuming and "path" not in self.scope:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._head_is_whole()
        if self._resuming:
            self._resuming = False
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which has limits of its own."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._head_is_whole()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What can't be parsed is told as every other error is, and hung up on."""
        self._refuse(Refused("malformed_http"), b"400 Bad Request")

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_whole(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, refused: Refused, status: bytes) -> None:
        if self.transport.is_closing():
            return
        body = refused.body
        headers = secured([(b"content-type", b"application/json"), (b"connection", b"close")])
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body))
        self.transport.close()
