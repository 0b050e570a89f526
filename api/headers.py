"""Security headers of every answer: browsers must not guess its type, nor send its address to other sites."""

from collections.abc import Awaitable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = Sequence[tuple[bytes, bytes]]

SECURITY: Headers = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class SecurityHeaders:
    """Middleware that adds SECURITY to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        return self._app(scope, receive, _adding(send))


def secured(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Returns the headers, with the missing ones of SECURITY added."""
    present = {name for name, _ in headers}
    return [*headers, *(header for header in SECURITY if header[0] not in present)]


def _adding(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = secured(message.get("headers", ()))
        await send(message)

    return sending
