"""A client of a running service, for commands. It tries again, for minutes, what the service can't do now."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from api.up.options import data_dir_option
from api.up.preflight import running

CONNECTIONS = 4
TIMEOUT_SECONDS = 30.0
GIVE_UP_SECONDS = 600.0  # of trying one request
NEVER_ANSWERED_SECONDS = 30.0  # of trying the first: the service may just be starting
LONGEST_PAUSE_SECONDS = 30.0
AGAIN = (408, 429, 500, 502, 503, 504)

Answer = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


class ServiceFailed(Exception):
    """The service can't be reached, or refuses. Start again when it is mended: what was done is not done twice."""


class Client:
    """Requests over connections that are kept, one a thread."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServiceFailed(f"{url} is not the URL of a service; write it like http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connect = partial(kind, parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._path = parts.path.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}
        self._local = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self.stopped = threading.Event()
        self.url, self._told, self._answered = url, threading.Event(), threading.Event()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._all:
            connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Answer]:
        """Ask until it is answered for good, whatever the status: what can't be done now (503, 429, no connection) is
        asked again with growing pauses. Raises ServiceFailed when that has gone on for too long."""
        began = time.monotonic()
        attempt = 0
        while True:
            status, answer, pause = self._ask_once(method, path, body)
            if status:
                self._answered.set()
            if status and status not in AGAIN:
                return status, answer
            if not self._told.is_set():
                self._told.set()
                click.echo(f"{self.url} can't do it now ({answer.get('message', status)}); trying again", err=True)
            patience = GIVE_UP_SECONDS if self._answered.is_set() else NEVER_ANSWERED_SECONDS
            left = began + patience - time.monotonic()
            if left < 0 or self.stopped.is_set():
                raise ServiceFailed(f"{self.url} can't do it: {answer.get('message', status)}")
            growing = min(LONGEST_PAUSE_SECONDS, 0.25 * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311
            self.stopped.wait(min(pause or growing, left))
            attempt += 1

    def require(self, method: str, path: str) -> Answer:
        """Returns the answer to a request that must succeed. Raises ServiceFailed with the service's own message."""
        status, answer = self.ask(method, path)
        if status >= HTTPStatus.BAD_REQUEST:
            raise ServiceFailed(answer.get("message") or f"the service answered {status}")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
            self._all.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection

    def _ask_once(self, method: str, path: str, body: bytes | None) -> tuple[int, Answer, float]:
        """The status (0: no connection), the answer, and for how long the service asks to wait."""
        connection = self._connection()
        kept = connection.sock is not None  # a service may close one that was idle
        try:
            connection.request(method, self._path + path, body, self._headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            if kept:
                return self._ask_once(method, path, body)
            return 0, {"message": str(error) or type(error).__name__}, 0.0
        with suppress(ValueError):
            return response.status, json.loads(answer), float(response.headers.get("Retry-After") or 0)
        return response.status, {}, 0.0


def service_options(command: F) -> F:
    """`--url`, `--api-key` and `--data-dir`, for a command that talks to a running service."""
    for option in (
        data_dir_option,
        click.option(
            "--api-key", envvar="WINDBACK_API_KEY", help="A secret key.  [default: the one in the data folder]"
        ),
        click.option("--url", help="The service.  [default: the running `windback up` of the data folder]"),
    ):
        command = option(command)
    return command


def resolve_service(url: str | None, api_key: str | None, data_dir: Path) -> tuple[str, str]:
    """Returns URL and key: those of the options, else those of the `windback up` that runs on the data folder."""
    url = url or running(data_dir)
    if not url:
        raise click.ClickException(f"no `windback up` runs on {data_dir}; start it, or name the service with --url")
    if not api_key:
        try:
            api_key = (data_dir / "api-key").read_text().strip()
        except OSError:
            raise click.ClickException(f"there is no key in {data_dir}; give one with --api-key") from None
    return url, api_key
