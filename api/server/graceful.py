"""Ending a web process without a broken answer.

On SIGTERM it drains: /readyz says 503, so that load balancers look elsewhere, and everything is served as before for a
grace. Then it takes no new connections; every answer closes its own, and those that are idle have a last moment to be
used or closed from the other side, since closing one on which a request is under way would reset it. Then follows
uvicorn's shutdown. SIGINT ends a process without grace.
"""

import asyncio
import signal
import socket
import threading
import time
from types import FrameType

import uvicorn
from uvicorn.supervisors import multiprocess

from api.server.listening import listen
from workers import settings

LAST_MOMENT_SECONDS = 1.0
TICK_SECONDS = 0.02
CLOSE = (b"connection", b"close")

draining = threading.Event()  # set once this process is shutting down


class GracefulServer(uvicorn.Server):
    """uvicorn's server. It goes on serving for a grace period after SIGTERM."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float) -> None:
        super().__init__(config)
        self._grace_seconds = grace_seconds
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: begin to drain, or end. SIGTERM may come twice, to the process and to its group."""
        draining.set()
        if sig == signal.SIGINT or not self._grace_seconds:
            super().handle_exit(sig, frame)
        elif self._ends_at is None:
            self._ends_at = time.monotonic() + self._grace_seconds

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: end when the grace is over."""
        if self._ends_at is not None and time.monotonic() >= self._ends_at and not self.should_exit:
            super().handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let the connections go, end."""
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        until = time.monotonic() + min(LAST_MOMENT_SECONDS, self._grace_seconds)
        while time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(TICK_SECONDS)
            if not self.server_state.connections:
                break
        await super().shutdown(sockets)


class WebProcess(multiprocess.Process):
    """One of several web processes."""

    @property
    def server(self) -> GracefulServer:
        """The server that runs in the process, with the settings of its environment."""
        if not isinstance(self._server, GracefulServer):
            self._server = GracefulServer(self.config, settings.load().grace_seconds)
        return self._server


class WebParent(multiprocess.Multiprocess):
    """The parent of several web processes. It closes its own copy of the port's socket when they drain: the last
    process that closes it ends it, and no connection waits there unanswered."""

    def terminate_all(self) -> None:
        """Forward the signal to end."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


def serve(config: uvicorn.Config, grace_seconds: float) -> bool:
    """Run the web process, or several that share the port. Returns whether it ever served. Raises OSError where the
    address can't be listened on."""
    sockets = listen(config.host, config.port)
    if config.workers > 1:
        multiprocess.Process = WebProcess  # type: ignore[misc]  # the class that Multiprocess starts and restarts
        WebParent(config, sockets=sockets).run()
        return True
    server = GracefulServer(config, grace_seconds)
    server.run(sockets)
    return server.started
