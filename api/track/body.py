"""The body of a request to track: received in time, within its limits, decompressed."""

import asyncio
import zlib

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from api.auth import header
from api.bodies import Hold
from api.errors import Refused
from api.server.protocol import WHOLE
from scoring.events import MAX_BODY_BYTES

BODY_SECONDS = 20.0  # in which a body has to arrive
LATE = "the body is late"
GZIP_MEMBERS = 1_000
GZIP_SLICE = 16_384  # the rest after a member is copied each time


async def receive_body(scope: Scope, receive: Receive, hold: Hold) -> bytes:
    """Returns the body, decompressed. Raises Refused, with the codes of bodies."""
    encoding = header(scope, b"content-encoding").strip().lower()
    if encoding not in (b"", b"identity", b"gzip"):
        raise Refused("unsupported_encoding")
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise Refused("payload_too_large")
    receive_all = _receive_gzip if encoding == b"gzip" else _receive_plain
    if WHOLE in scope:  # nearly always; there is nothing to wait for
        return await receive_all(receive, hold)
    task = asyncio.current_task()
    assert task
    late = asyncio.get_running_loop().call_later(BODY_SECONDS, task.cancel, LATE)  # cheaper than asyncio.timeout
    try:
        return await receive_all(receive, hold)
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (LATE,):
            raise
        task.uncancel()
        raise Refused("body_timeout") from None
    finally:
        late.cancel()


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    """Returns the next part of the body, and True if more follow."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), bool(message.get("more_body"))


async def _receive_plain(receive: Receive, hold: Hold) -> bytes:
    part, more = await _receive_part(receive)
    if not more and len(part) <= MAX_BODY_BYTES:  # nearly always
        return part
    parts, size = [part], len(part)
    hold.add(size)
    while more and size <= MAX_BODY_BYTES:
        part, more = await _receive_part(receive)
        hold.add(len(part))
        parts.append(part)
        size += len(part)
    if size > MAX_BODY_BYTES:
        raise Refused("payload_too_large")
    return b"".join(parts)


async def _receive_gzip(receive: Receive, hold: Hold) -> bytes:
    unzip = Unzip(hold)
    received, more = 0, True
    while more:
        packed, more = await _receive_part(receive)
        received += len(packed)
        if received > MAX_BODY_BYTES:
            raise Refused("payload_too_large")
        for start in range(0, len(packed), GZIP_SLICE):
            unzip.feed(packed[start : start + GZIP_SLICE])
    return unzip.finish()


class Unzip:
    """Decompresses a series of gzip members (RFC 1952), up to MAX_BODY_BYTES."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._parts: list[bytes] = []
        self._room = MAX_BODY_BYTES
        self._members = 0
        self._member = self._start_member()

    def feed(self, packed: bytes) -> None:
        """Decompress a slice. Raises Refused: malformed_gzip, payload_too_large, overloaded."""
        while packed:
            if self._member.eof:
                self._member = self._start_member()
            try:
                part = self._member.decompress(packed, self._room + 1)
            except zlib.error:
                raise Refused("malformed_gzip") from None
            self._room -= len(part)
            if self._room < 0 or self._member.unconsumed_tail:
                raise Refused("payload_too_large")
            self._hold.add(len(part))
            self._parts.append(part)
            packed = self._member.unused_data

    def finish(self) -> bytes:
        """Returns what was decompressed. Raises Refused, malformed_gzip, if the last member isn't whole."""
        if not self._member.eof:
            raise Refused("malformed_gzip", "The gzip body ends too early.")
        return b"".join(self._parts)

    def _start_member(self) -> "zlib._Decompress":
        self._members += 1
        if self._members > GZIP_MEMBERS:
            raise Refused("malformed_gzip", f"The gzip body has over {GZIP_MEMBERS} members; compress it in one.")
        return zlib.decompressobj(wbits=31)
