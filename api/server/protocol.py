"""uvicorn's HTTP protocol, with changes: request heads are limited in size and in time, refusals have our format, the
bodies of clients that offer an upgrade are read (Java's HttpClient offers one by default), an answer is one write."""

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

    _head_bytes = 0  # received since the last head, body part or end of a request
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        self._head_is_whole()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived from the client."""
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._resume(data[offered.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._head_bytes:
            self._head_goes_on()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._head_is_whole()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which has limits of its own."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses, in our format, what can't be parsed, and closes the connection."""
        self._refuse(Refused("malformed_http"), b"400 Bad Request")

    def _resume(self, rest: bytes) -> None:
        """Go on as if no upgrade had been offered: the head stands, and a new parser reads the body."""
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in FRAMING)
        self.parser = httptools.HttpRequestParser(Resumed(self))
        self.cycle.more_body = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        if rest:
            self.data_received(rest)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_goes_on(self) -> None:
        if self._head_bytes > HEAD_BYTES:
            self._refuse(Refused("headers_too_large"), b"431 Request Header Fields Too Large")
        elif self._head_timer is None and not self.transport.is_closing():
            self._expect_head()

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


class Resumed:
    """Passes a parser's calls on to the protocol, except those of the first head: the protocol has it already."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._repeats = True
        self.on_body, self.on_message_complete = protocol.on_body, protocol.on_message_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._repeats:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        if not self._repeats:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if not self._repeats:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        if not self._repeats:
            self._protocol.on_headers_complete()
        self._repeats = False


class Corked:
    """A transport that writes together what is written in one go of the loop: uvicorn writes an answer's head and body
    apart, and each write costs a system call and wakes the client."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pending: list[bytes] = []
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write when the loop gets there."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Write what is left, and close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._pending:
            data, self._pending = b"".join(self._pending), []
            self._transport.write(data)
