"""A client of a running service, for commands. It tries again, for minutes, what the service can't do now."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from api.commands.connections import Address, AddressFault, connect
from api.up.options import data_dir_option
from api.up.preflight import running, uses_database
from workers import settings

CONNECTIONS = 4
TIMEOUT_SECONDS = 30.0
GIVE_UP_SECONDS = 600.0  # of trying one request
NEVER_ANSWERED_SECONDS = 30.0  # of trying the first: the service may just be starting
LONGEST_PAUSE_SECONDS = 30.0
AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
REDIRECTS = (301, 302, 303, 307, 308)

Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


class ServiceFailed(Exception):
    """The service can't be reached, or refuses. Start again when that is mended: nothing is done twice."""


class ServiceReply(NamedTuple):
    """An answer: its status (0: no connection), its JSON object ({} where it has none), for how long to wait before
    another try (seconds), and the message of an error, of the service or of the connection."""

    status: int
    body: Json
    wait_seconds: float = 0.0
    fault: str = ""
    location: str = ""
    text: str = ""

    @property
    def is_ours(self) -> bool:
        """True if the answer has the form of Windback's own answers."""
        return self.status == HTTPStatus.OK or self.body.get("status") in ("ok", "partial", "error")


class Client:
    """Requests over connections that are kept, one a thread."""

    def __init__(self, url: str, api_key: str, *, direct: bool = False) -> None:
        try:
            self._address = Address.parse(url, direct=direct)
        except AddressFault as error:
            raise ServiceFailed(str(error)) from None
        self.url = self._address.shown
        self._headers = {**self._address.headers, "X-API-Key": check_key(api_key), "Content-Type": "application/json"}
        self._local = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self.stopped = threading.Event()
        self._told, self._answered = threading.Event(), threading.Event()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._all:
            connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None) -> ServiceReply:
        """Ask until the answer is final. After 5xx, 429 or a lost connection it asks again, with growing pauses. Raises
        ServiceFailed when that has gone on for too long, or where another service answers."""
        began = time.monotonic()
        attempt = 0
        while True:
            reply = self._ask_once(method, path, body)
            if reply.status:
                self._answered.set()
            if reply.status in REDIRECTS:
                raise ServiceFailed(f"{self.url} redirects to {self._address.hide(reply.location)}; give that as --url")
            if reply.status and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR and reply.status not in AGAIN:
                return reply
            patience = GIVE_UP_SECONDS if self._answered.is_set() else NEVER_ANSWERED_SECONDS
            left = began + patience - time.monotonic()
            if left < 0 or self.stopped.is_set():
                raise ServiceFailed(f"{self.url} failed: {reply.fault or reply.status}")
            self._announce(reply, left)
            growing = min(LONGEST_PAUSE_SECONDS, 0.25 * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311
            self.stopped.wait(min(reply.wait_seconds or growing, left))
            attempt += 1

    def require(self, method: str, path: str, *fields: str) -> Json:
        """Returns the answer to a request that must succeed, with these fields. Raises ServiceFailed."""
        reply = self.ask(method, path)
        if reply.status >= HTTPStatus.BAD_REQUEST and reply.is_ours:
            raise ServiceFailed(reply.fault)
        if reply.status >= HTTPStatus.BAD_REQUEST or any(field not in reply.body for field in fields):
            raise self.stranger(reply)
        return reply.body

    def stranger(self, reply: ServiceReply) -> ServiceFailed:
        """The error where something answers that isn't Windback."""
        return ServiceFailed(f"{self.url} answers ({reply.status}), but not as Windback does; is the address right?")

    def _announce(self, reply: ServiceReply, left_seconds: float) -> None:
        if not self._told.is_set():
            self._told.set()
            until = f"for up to {left_seconds / 60:.0f} minutes" if left_seconds > 90 else f"for {left_seconds:.0f} s"
            reason = reply.fault or f"it answered {reply.status}"
            click.echo(f"{self.url} failed ({reason}); trying again {until}", err=True)

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = connect(self._address, TIMEOUT_SECONDS)
            self._all.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection

    def _ask_once(self, method: str, path: str, body: bytes | None) -> ServiceReply:
        connection = self._connection()
        kept = connection.sock is not None  # a service may close one that was idle
        try:
            connection.request(method, self._address.prefix + path, body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            if kept and not self.stopped.is_set():
                return self._ask_once(method, path, body)
            fault = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return ServiceReply(0, {}, fault=self._address.hide(fault))
        return _read(response, content)


def _read(response: http.client.HTTPResponse, content: bytes) -> ServiceReply:
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError):
        decoded = None
    body = decoded if isinstance(decoded, dict) else {}
    message = body.get("message")
    fault = message if isinstance(message, str) else f"the service answered {response.status}"
    wait = response.headers.get("Retry-After", "")
    location = response.headers.get("Location", "")
    return ServiceReply(
        response.status,
        body,
        float(wait) if wait.isdecimal() else 0.0,
        fault,
        location,
        content.decode(errors="replace"),
    )


def check_key(api_key: str) -> str:
    """Returns a key that can be a header. Raises ServiceFailed, which doesn't show it."""
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ServiceFailed("the API key is not one: it is empty, or holds characters that no key has")
    return key


def service_options(command: F) -> F:
    """`--url`, `--api-key` and `--data-dir`, for a command that talks to a running service."""
    for option in (
        data_dir_option,
        click.option("--api-key", help="A secret key.  [default: WINDBACK_API_KEY, else the one in the data folder]"),
        click.option("--url", help="The service.  [default: WINDBACK_URL, else the `windback up` of the data folder]"),
    ):
        command = option(command)
    return command


def open_service(url: str | None, api_key: str | None, data_dir: Path) -> Client:
    """A client of the service that the options name, else the settings, else the `windback up` that runs on the data
    folder."""
    try:
        configured = settings.load()
        url = url or configured.url
        api_key = api_key or configured.api_key
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    if not url and configured.database_url and not uses_database(data_dir, configured.database_url):
        raise click.ClickException(
            f"DATABASE_URL is set, and no `windback up` on {data_dir} uses it: name the service with --url"
        )
    direct = not url
    url = url or running(data_dir)
    if not url:
        raise click.ClickException(f"no `windback up` runs on {data_dir}; start it, or name the service with --url")
    return Client(url, api_key or _read_key(data_dir), direct=direct)


def _read_key(data_dir: Path) -> str:
    try:
        return (data_dir / "api-key").read_text()
    except (OSError, UnicodeDecodeError):
        raise click.ClickException(f"there is no key in {data_dir}; give one with --api-key") from None
