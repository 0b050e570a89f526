"""uvicorn's HTTP protocol, with changes: each connection ends in time, whatever its client does or leaves out; request
heads are limited in size; refusals have our format; the bodies of clients that offer an upgrade are read (Java's
HttpClient offers one by default); an answer is one write."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import Refused
from api.headers import secured
from api.server.corked import Corked
from api.server.patience import EXTENSION, UPLOADS

HEAD_BYTES = 64 * 1024  # of a head, or of trailers, as they come: they can be sent without a key
HEAD_SECONDS = 20.0  # in which a head has to be whole
BODY_SECONDS = 25.0  # in which a body has to be whole; the track route refuses earlier, and in words
PIECE_SECONDS = 20.0  # between pieces of a body that may take its time
REST_SECONDS = 5.0  # in which the rest of a body has to come whose request is answered
FRAMING = (b"content-length", b"transfer-encoding")
WHOLE = "windback.whole"  # in the scope of a request whose body has come


class Protocol(HttpToolsProtocol):
    """The protocol of one connection."""

    _head_bytes = 0  # received since the last head, body part or end of a request
    _head_timer: asyncio.TimerHandle | None = None
    _in_body = False
    _body_timer: asyncio.TimerHandle | None = None
    _is_patient = False  # with the body that is coming

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        self._head_is_whole()
        self._body_is_whole()
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
        if self._in_body:
            self._expect_body(BODY_SECONDS)
        elif self.cycle is not None and self.cycle.response_complete and self._head_timer is None:
            self._expect_next()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._head_is_whole()
        self._in_body, self._is_patient = True, False
        if self.url == UPLOADS:
            self.scope["extensions"] = {EXTENSION: self._be_patient}  # type: ignore[dict-item]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which has limits of its own."""
        self._head_bytes = 0
        if self._is_patient:
            self._wait_for_piece()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._head_bytes = 0
        self._body_is_whole()
        self.scope[WHOLE] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered; the rest of its body may not have come yet."""
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._body_is_whole()
            self._in_body = True
            self._expect_body(REST_SECONDS)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self.transport.watch()  # type: ignore[attr-defined]

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

    def _be_patient(self) -> None:
        if self._in_body:
            self._is_patient = True
            self._wait_for_piece()

    def _wait_for_piece(self) -> None:
        self._body_is_whole()
        self._in_body = True
        self._expect_body(PIECE_SECONDS)

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

    def _expect_body(self, seconds: float) -> None:
        if self._body_timer is None and not self.transport.is_closing():
            self._body_timer = self.loop.call_later(seconds, self.transport.close)

    def _body_is_whole(self) -> None:
        self._in_body = False
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _expect_next(self) -> None:
        """The rest of a body took the keep-alive timer back: set it again."""
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

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
