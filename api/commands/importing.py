"""`windback import`: files of events into a running service, through its API, in batches of 100.

Safe to run again: an event with a timestamp or an event_id is stored once. What can't be taken now (503, 429, no
connection) is sent again with growing pauses; what is refused is reported with its line.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from api.commands.client import CONNECTIONS, Client, ServiceFailed, resolve_service, service_options
from api.commands.event_files import Line, lines
from scoring.events import MAX_BATCH

SHOWN = 20  # refused lines that are told one by one


class Refused(NamedTuple):
    """A line that is not imported, and why."""

    number: int
    reason: str


class Result(NamedTuple):
    """What became of a batch."""

    accepted: int
    refused: list[Refused]


def send(client: Client, batch: list[Line]) -> Result:
    """Send a batch until it is answered for good. Raises ServiceFailed."""
    body = msgspec.json.encode({"events": [line.event for line in batch]})
    status, answer = client.ask("POST", "/api/v1/track", body)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(batch) > 1:
        first, second = send(client, batch[: len(batch) // 2]), send(client, batch[len(batch) // 2 :])
        return Result(first.accepted + second.accepted, first.refused + second.refused)
    return _result(batch, status, answer)


def _result(batch: list[Line], status: int, answer: dict[str, Any]) -> Result:
    message = answer.get("message") or f"the service answered {status}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(batch) == 1:
        return Result(0, [Refused(batch[0].number, message)])
    if status not in (HTTPStatus.OK, HTTPStatus.MULTI_STATUS, HTTPStatus.UNPROCESSABLE_ENTITY):
        raise ServiceFailed(message)
    refused = [Refused(batch[one["index"]].number, one["message"]) for one in answer.get("rejected", [])]
    return Result(len(batch) - len(refused), refused)


def import_file(path: Path, client: Client, progress: Callable[[int], None]) -> Result:
    """Send a file. Returns how many events were taken, and the lines that were not. Raises ServiceFailed, OSError."""
    unreadable: list[Refused] = []
    accepted, refused = 0, []
    for result in results(_events(path, unreadable), client):
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


def results(events: Iterator[Line], client: Client) -> Iterator[Result]:
    """What became of each batch, in order; a few are under way at a time. Raises ServiceFailed."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            while batch := list(islice(events, MAX_BATCH)):
                pending.append(pool.submit(send, client, batch))
                if len(pending) > 2 * CONNECTIONS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            client.stopped.set()
            raise
        finally:
            client.close()


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@service_options
def import_command(files: tuple[Path, ...], url: str | None, api_key: str | None, data_dir: Path) -> None:
    """Send FILES of events (CSV or NDJSON, plain or .gz) through the API. Safe to run again.

    A CSV file names its columns in the first line: event, customer_email, timestamp, event_id, properties (JSON); any
    other column is a property.
    """
    service = resolve_service(url, api_key, data_dir)
    failed = False
    for path in files:
        try:
            result = import_file(path, Client(*service), _progress(path))
        except (ServiceFailed, OSError, EOFError, ValueError) as error:
            raise click.ClickException(f"{path}: {' '.join(str(error).split())}") from None
        _report(path, result)
        failed = failed or bool(result.refused)
    sys.exit(1 if failed else 0)


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
