"""`windback import`: sends files of events to a running service, through its API, in batches of 100.

Safe to run again: an event with a timestamp or an event_id is stored once. After 5xx, 429 or a lost
connection a batch is sent again, with growing pauses; refused events are reported with their lines.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from api.commands.client import CONNECTIONS, Client, ServiceFailed, ServiceReply
from api.history.event_files import FileLine
from api.history.text_files import FileFault, TextFile
from scoring.events import MAX_BATCH

TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
OWN_LIMITS = ("payload_too_large", "batch_too_large")


class RefusedEvent(msgspec.Struct):
    """An event that the service refused."""

    index: Annotated[int, Meta(ge=0)]
    message: str


class PartlyTaken(msgspec.Struct):
    """The answer where some events of a batch are refused."""

    status: Literal["partial"]
    accepted: Annotated[int, Meta(ge=1)]
    rejected: Annotated[list[RefusedEvent], Meta(min_length=1)]


class NothingTaken(msgspec.Struct):
    """The answer where all events of a batch are refused."""

    code: Literal["invalid_event"]
    rejected: Annotated[list[RefusedEvent], Meta(min_length=1)]


class RefusedLine(NamedTuple):
    """A line that is not imported, and why."""

    number: int
    reason: str


class BatchResult(NamedTuple):
    """The result of sending a batch or a file."""

    accepted: int
    refused: list[RefusedLine]


def send(client: Client, batch: list[FileLine]) -> BatchResult:
    """Send a batch until the answer is final. Raises ServiceFailed."""
    body = msgspec.json.encode({"events": [line.event for line in batch]})
    reply = client.ask("POST", "/api/v1/track", body)
    if reply.status == TOO_LARGE and len(batch) > 1:
        first, second = send(client, batch[: len(batch) // 2]), send(client, batch[len(batch) // 2 :])
        return BatchResult(first.accepted + second.accepted, first.refused + second.refused)
    if reply.status == TOO_LARGE and reply.body.get("code") in OWN_LIMITS:
        return BatchResult(0, [RefusedLine(batch[0].number, reply.fault)])
    if reply.status == TOO_LARGE:
        raise ServiceFailed(
            f"a proxy before {client.url} refuses {len(body):,} bytes; raise its limit (nginx: client_max_body_size)"
        )
    return _read_result(client, batch, reply)


def _read_result(client: Client, batch: list[FileLine], reply: ServiceReply) -> BatchResult:
    """Returns the result of a batch from the answer. Only Windback's own answers count. Raises ServiceFailed."""
    if reply.status == HTTPStatus.OK and reply.body == {"status": "ok"}:
        return BatchResult(len(batch), [])
    rejected = _read_rejected(reply, len(batch))
    if rejected is not None:
        refused = [RefusedLine(batch[event.index].number, event.message) for event in rejected]
        return BatchResult(len(batch) - len(refused), refused)
    if reply.status >= HTTPStatus.BAD_REQUEST and reply.body.get("status") == "error":
        raise ServiceFailed(reply.fault)
    raise client.stranger(reply)


def _read_rejected(reply: ServiceReply, size: int) -> list[RefusedEvent] | None:
    """The refused events, if this is an answer to a batch of this size."""
    try:
        if reply.status == HTTPStatus.MULTI_STATUS:
            partly = msgspec.convert(reply.body, PartlyTaken)
            rejected, accepted = partly.rejected, partly.accepted
        elif reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            rejected, accepted = msgspec.convert(reply.body, NothingTaken).rejected, 0
        else:
            return None
    except msgspec.ValidationError:
        return None
    indices = {event.index for event in rejected}
    return (
        rejected if accepted + len(indices) == size and max(indices) < size and len(indices) == len(rejected) else None
    )


class Import:
    """One file on its way into a service. Whatever ends it, what was done until then is known."""

    def __init__(self, file: TextFile, client: Client, progress: Callable[[int, float], None]) -> None:
        self.accepted = 0
        self.refused: list[RefusedLine] = []
        self._file, self._client, self._progress = file, client, progress

    def run(self, events: Iterator[FileLine]) -> None:
        """Send all events. Raises ServiceFailed, FileFault, OSError."""
        for result in send_all(self._keep_faults(events), self._client):
            self.accepted += result.accepted
            self.refused += result.refused
            self._progress(self.accepted, self._file.share)

    def _keep_faults(self, lines: Iterator[FileLine]) -> Iterator[FileLine]:
        for line in lines:
            if line.event is None:
                self.refused.append(RefusedLine(line.number, line.fault))
            else:
                yield line


def send_all(events: Iterator[FileLine], client: Client) -> Iterator[BatchResult]:
    """Yields the result of each batch, in order; a few batches are under way at a time. If reading the events fails,
    the events read so far are sent first. Raises ServiceFailed, and any error of `events`."""
    pending: deque[Future[BatchResult]] = deque()
    batches = _Batches(events)
    with closing(client), ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            for batch in batches:
                pending.append(pool.submit(send, client, batch))
                if len(pending) > 2 * CONNECTIONS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            client.stopped.set()
            raise
    if batches.error is not None:
        raise batches.error


class _Batches:
    """Events in batches; an error of theirs ends these, and is kept."""

    def __init__(self, events: Iterator[FileLine]) -> None:
        self._events = events
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[list[FileLine]]:
        events = self._until_error()
        while batch := list(islice(events, MAX_BATCH)):
            yield batch

    def _until_error(self) -> Iterator[FileLine]:
        try:
            yield from self._events
        except (FileFault, OSError) as error:
            self.error = error
