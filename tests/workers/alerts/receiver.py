"""A receiver of webhooks on loopback: it keeps all messages, and answers as a test sets it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Message(NamedTuple):
    """A message that came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """It answers with `status`, and not at all while `held` is set."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 200
        self.answer = b"ok"
        self.headers: dict[str, str] = {}
        self.held = threading.Event()
        self.released = threading.Event()
        self.closes_early = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def emails(self) -> list[str]:
        return [message.json["customer_email"] for message in self.messages]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver, until the end of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed in the middle of it
                self.close_connection = True
                return
            receiver.messages.append(Message(self.path, dict(self.headers), body))
            if receiver.held.is_set():
                receiver.released.wait(60)
            if receiver.closes_early:
                self.close_connection = True
                return
            self.send_response(receiver.status)
            self.send_header("Content-Length", str(len(receiver.answer)))
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(receiver.answer)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A sender that was killed is no error of ours."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
            thread.join()
