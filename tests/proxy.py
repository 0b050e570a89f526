"""A way to Postgres that can be cut at any moment: what a network does to connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

CHUNK = 2048


class Proxy:
    """Forwards connections to a server; `url` leads through it.

    `cut_on(mark, after)` cuts a connection once, when the mark comes by in what the client sends (with `answer`: what
    the server sends); of that and what follows, as many bytes as told still arrive.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.{parse_qs(parts.query)['port'][0]}"
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}{parts.path}"
        self.cuts = 0
        self._open: set[socket.socket] = set()
        self._marks: list[tuple[bytes, int, bool]] = []
        self._away = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_on(self, mark: bytes, after: int = 0, answer: bool = False) -> None:
        """Cut a connection when this comes by."""
        self._marks.append((mark, after, answer))

    def cut(self) -> None:
        """Cut all connections now."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def go_away(self) -> None:
        """Cut all connections, and every new one."""
        self._away = True
        self.cut()

    def come_back(self) -> None:
        """Take connections again."""
        self._away = False

    def close(self) -> None:
        """Forward nothing any more."""
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._away:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._open |= {client, server}
                for ways in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=ways, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, answer: bool) -> None:
        seen, left = b"", None
        with suppress(OSError):
            while data := source.recv(CHUNK):
                seen = seen[-64:] + data
                if left is None and (marks := [mark for mark in self._marks if mark[2] == answer and mark[0] in seen]):
                    self._marks.remove(marks[0])
                    left = marks[0][1]
                if left is not None:
                    target.sendall(data[:left])
                    left -= len(data)
                    if left <= 0:
                        self.cuts += 1
                        break
                    continue
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)


@contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    """A way to the server at this URL (a Unix socket's) until the end of the block."""
    made = Proxy(url)
    try:
        yield made
    finally:
        made.close()
