"""A transport that writes an answer in one go, and gives up on a client that doesn't read."""

import asyncio
from typing import Any

UNREAD_SECONDS = 30.0  # without progress: then the client is hung up on


class Corked:
    """A transport that writes together what is written in one go of the loop: uvicorn writes an answer's head and body
    apart, and each write costs a system call and wakes the client."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pending: list[bytes] = []
        self._is_watched = False
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write when the loop gets there."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Writes the rest and closes: at once, once the client has read it, or when the client stops reading."""
        self._flush()
        self._transport.close()
        self.watch()

    def watch(self) -> None:
        """Abort the connection if the client reads nothing of what waits for it for UNREAD_SECONDS."""
        if (unread := self._transport.get_write_buffer_size()) and not self._is_watched:
            self._is_watched = True
            self._loop.call_later(UNREAD_SECONDS, self._look_again, unread)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _look_again(self, before: int) -> None:
        self._is_watched = False
        if 0 < before <= self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self.watch()

    def _flush(self) -> None:
        if self._pending:
            data, self._pending = b"".join(self._pending), []
            if not self._transport.is_closing():  # the client may have gone meanwhile
                self._transport.write(data)
