"""`windback import`: files of events into a running service, through its API, in batches of 100.

Safe to run again: an event with a timestamp or an event_id is stored once. What can't be taken now (503, 429, no
connection) is sent again with growing pauses; what is refused is reported with its line.
"""

import http.client
import json
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
import msgspec

from api.eventfiles import Line, lines
from api.preflight import running
from scoring.events import MAX_BATCH

CONNECTIONS = 4
TIMEOUT_SECONDS = 30.0
GIVE_UP_SECONDS = 600.0  # of trying to send one batch
LONGEST_PAUSE_SECONDS = 30.0
SHOWN = 20  # refused lines that are told one by one
AGAIN = (408, 429, 500, 502, 503, 504)


class ImportFailed(Exception):
    """The service can't be reached, or takes nothing. Start again when it does: what was stored is not stored twice."""


class Refused(NamedTuple):
    """A line that is not imported, and why."""

    number: int
    reason: str


class Result(NamedTuple):
    """What became of a batch."""

    accepted: int
    refused: list[Refused]


class Sender:
    """Sends batches over connections that are kept, one a thread."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ImportFailed(f"{url} is not the URL of a service; write it like http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connect = partial(kind, parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._path = parts.path.rstrip("/") + "/api/v1/track"
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}
        self._local = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self.stopped = threading.Event()
        self._url, self._told = url, threading.Event()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._all:
            connection.close()

    def send(self, batch: list[Line]) -> Result:
        """Send a batch until it is answered for good. Raises ImportFailed."""
        body = msgspec.json.encode({"events": [line.event for line in batch]})
        give_up = time.monotonic() + GIVE_UP_SECONDS
        attempt = 0
        while True:
            status, answer, pause = self._post(body)
            if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(batch) > 1:
                first, second = self.send(batch[: len(batch) // 2]), self.send(batch[len(batch) // 2 :])
                return Result(first.accepted + second.accepted, first.refused + second.refused)
            if status not in AGAIN and status:
                return _result(batch, status, answer)
            if not self._told.is_set():
                self._told.set()
                click.echo(
                    f"{self._url} doesn't take events now ({answer.get('message', status)}); trying again", err=True
                )
            if time.monotonic() > give_up or self.stopped.is_set():
                raise ImportFailed(f"the service doesn't take events: {answer.get('message', status)}")
            self.stopped.wait(pause or min(LONGEST_PAUSE_SECONDS, 0.25 * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311
            attempt += 1

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
            self._all.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection

    def _post(self, body: bytes) -> tuple[int, dict[str, Any], float]:
        """The status (0: no connection), the answer, and for how long the service asks to wait."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            return 0, {"message": str(error) or type(error).__name__}, 0.0
        with suppress(ValueError):
            return response.status, json.loads(answer), float(response.headers.get("Retry-After") or 0)
        return response.status, {}, 0.0


def _result(batch: list[Line], status: int, answer: dict[str, Any]) -> Result:
    message = answer.get("message") or f"the service answered {status}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(batch) == 1:
        return Result(0, [Refused(batch[0].number, message)])
    if status not in (HTTPStatus.OK, HTTPStatus.MULTI_STATUS, HTTPStatus.UNPROCESSABLE_ENTITY):
        raise ImportFailed(message)
    refused = [Refused(batch[one["index"]].number, one["message"]) for one in answer.get("rejected", [])]
    return Result(len(batch) - len(refused), refused)


def import_file(path: Path, sender: Sender, progress: Callable[[int], None]) -> Result:
    """Send a file. Returns how many events were taken, and the lines that were not. Raises ImportFailed, OSError."""
    unreadable: list[Refused] = []
    accepted, refused = 0, []
    for result in _results(_events(path, unreadable), sender):
        accepted += result.accepted
        refused += result.refused
        progress(accepted)
    return Result(accepted, sorted(refused + unreadable))


def _events(path: Path, unreadable: list[Refused]) -> Iterator[Line]:
    for line in lines(path):
        if line.event is None:
            unreadable.append(Refused(line.number, line.fault))
        else:
            yield line


def _results(events: Iterator[Line], sender: Sender) -> Iterator[Result]:
    """What became of each batch, in order; a few are under way at a time."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            while batch := list(islice(events, MAX_BATCH)):
                pending.append(pool.submit(sender.send, batch))
                if len(pending) > 2 * CONNECTIONS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            sender.stopped.set()
            raise
        finally:
            sender.close()


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", help="The service.  [default: the running `windback up` of the data folder]")
@click.option("--api-key", envvar="WINDBACK_API_KEY", help="A secret key.  [default: the one in the data folder]")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="WINDBACK_DATA_DIR",
    default=".windback",
    show_default=True,
)
def import_command(files: tuple[Path, ...], url: str | None, api_key: str | None, data_dir: Path) -> None:
    """Send FILES of events (CSV or NDJSON, plain or .gz) through the API. Safe to run again.

    A CSV file names its columns in the first line: event, customer_email, timestamp, event_id, properties (JSON); any
    other column is a property.
    """
    sender_of = _sender(url, api_key, data_dir)
    failed = False
    for path in files:
        try:
            result = import_file(path, sender_of(), _progress(path))
        except (ImportFailed, OSError, EOFError, ValueError) as error:
            raise click.ClickException(f"{path}: {' '.join(str(error).split())}") from None
        _report(path, result)
        failed = failed or bool(result.refused)
    sys.exit(1 if failed else 0)


def _sender(url: str | None, api_key: str | None, data_dir: Path) -> Callable[[], Sender]:
    found = url or running(data_dir)
    if not found:
        raise click.ClickException(f"no `windback up` runs on {data_dir}; start it, or name the service with --url")
    if not api_key:
        try:
            api_key = (data_dir / "api-key").read_text().strip()
        except OSError:
            raise click.ClickException(f"there is no key in {data_dir}; give one with --api-key") from None
    key = api_key
    return lambda: Sender(found, key)


def _progress(path: Path) -> Callable[[int], None]:
    """A counter on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        return lambda count: None
    return lambda count: click.echo(f"\r{path}: {count:,} events", nl=False, err=True)


def _report(path: Path, result: Result) -> None:
    if sys.stderr.isatty():
        click.echo(err=True)
    click.echo(f"{path}: {result.accepted:,} events taken, {len(result.refused):,} lines refused")
    for line in result.refused[:SHOWN]:
        click.echo(f"{path}:{line.number}: {line.reason}", err=True)
    if len(result.refused) > SHOWN:
        click.echo(f"… and {len(result.refused) - SHOWN:,} more", err=True)
