"""uvicorn's HTTP, with three things mended: there is an end to heads, it refuses in our shape, and it reads requests
that offer an upgrade."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import Refused
from api.headers import secured

HEAD_BYTES = 64 * 1024  # of a head, or of trailers: nobody needs a key to send them

# Java's HttpClient offers HTTP/2 with every request unless told otherwise. The offer may be ignored (RFC 9113 did away
# with it), but the parser takes what follows for another protocol's, and drops the body.
OFFER = re.compile(
    rb"(?<=\r\n)(?:upgrade:[ \t]*h2c|http2-settings:[^\r\n]*|connection:[ \t]*upgrade,[ \t]*http2-settings)[ \t]*\r\n",
    re.IGNORECASE,
)


class Protocol(HttpToolsProtocol):
    """The protocol of one connection."""

    _head_bytes = 0  # received since something came of what was received

    def data_received(self, data: bytes) -> None:
        """Bytes of the client's."""
        self._head_bytes += len(data)
        super().data_received(OFFER.sub(b"", data) if b"h2c" in data else data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(Refused("headers_too_large"), b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which has a limit of its own."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What can't be parsed is told as every other error is, and hung up on."""
        self._refuse(Refused("malformed_http"), b"400 Bad Request")

    def _refuse(self, refused: Refused, status: bytes) -> None:
        body = refused.body
        headers = secured([(b"content-type", b"application/json"), (b"connection", b"close")])
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body))
        self.transport.close()
