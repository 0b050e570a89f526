"""A lane's batches: each is read from the buffer and decoded, in a thread, while the one before is stored."""

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

from redis.exceptions import RedisError

from workers.buffer.attempts import Attempts
from workers.buffer.rows import Identification, Row, Unreadable, read_entry
from workers.buffer.staging import StagedRows, stage
from workers.buffer.stream import Reader, StreamEntry
from workers.settings import Settings
from workers.tracking.volume import Volumes, volumes_of

log = logging.getLogger(__name__)

FIRST_EVENTS = 5_000  # of the first batch at most: Postgres has nothing to do before it is decoded
AHEAD_OF_EVENTS = 500  # while so many are stored or more, the next batch is read; few are stored sooner alone


class DecodedEntry(NamedTuple):
    """An entry of the buffer, and the rows of its events."""

    source: StreamEntry
    rows: list[Row]
    unreadable: list[Unreadable]
    identities: list[Identification]


class FailsAlone(Exception):
    """An entry could not be read in time, or ended the process that read it, again and again. It is set aside; look at
    it with `windback dead-letters show`, and replay it when the fault is mended."""


class IngestBatch(NamedTuple):
    """Entries that are stored together, their rows ready for COPY, and how many there are by account and hour. If they
    are left over, an attempt at them was counted."""

    entries: Sequence[DecodedEntry]
    staged: StagedRows
    volumes: Volumes
    is_left_over: bool = False

    @property
    def sources(self) -> list[StreamEntry]:
        """The entries as they are in the buffer."""
        return [entry.source for entry in self.entries]

    @property
    def events(self) -> int:
        """The number of events in the entries."""
        return sum(entry.source.events for entry in self.entries)

    @property
    def identities(self) -> list[Identification]:
        """The statements about persons in the entries."""
        return [identity for entry in self.entries for identity in entry.identities]

    def without(self, ids: Collection[bytes]) -> "IngestBatch":
        """Returns the batch without the entries of these ids."""
        return make_batch([entry for entry in self.entries if entry.source.id not in ids]) if ids else self


class Batches:
    """The left-over entries of a lane, then the new ones. `read_ahead` reads a batch while another is stored; the end
    of a `with` block waits for it."""

    def __init__(self, reader: Reader, attempts: Attempts, settings: Settings) -> None:
        self._reader, self._attempts, self._settings = reader, attempts, settings
        self._left_over = True
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: Future[IngestBatch | None] | None = None
        self._last = False
        self._first = True
        self.most_events = settings.batch_events  # of a batch
        self.reads_ahead = True  # else the lane takes one processor at a time, for the sake of others

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=error is None)  # a job whose time is over waits for nothing more

    def next(self, wait_seconds: float) -> IngestBatch | None:
        """Returns the next batch; waits this long for one. None when the lane is empty, or after `no_more()`."""
        if (ahead := self._take_ahead()) is not None:
            return ahead
        if self._last:
            return None
        if self._left_over:
            if entries := self._reader.read_left_over(self._settings.claim_seconds, self._settings.batch_events):
                return self._try_again(entries)
            self._left_over = False
        return self._read_new(wait_seconds)

    def read_ahead(self, batch: IngestBatch) -> None:
        """Begin to read the batch after this one, if this one is large."""
        is_worth_it = self.reads_ahead and batch.events >= AHEAD_OF_EVENTS
        if is_worth_it and self._ahead is None and not self._left_over and not self._last:
            self._thread = self._thread or ThreadPoolExecutor(1, "read-ahead")
            self._ahead = self._thread.submit(self._read_new, 0)

    def _take_ahead(self) -> IngestBatch | None:
        """Returns the batch that was read ahead, if there was one."""
        if self._ahead is None:
            return None
        ahead, self._ahead = self._ahead, None
        try:
            return ahead.result()
        except RedisError as error:  # reading the next one meets it again
            log.info("the next batch can't be read ahead: %s", error)
            return None

    def no_more(self) -> None:
        """Read no further: the batch that was read ahead is the last."""
        self._last = True

    def _try_again(self, entries: Sequence[StreamEntry]) -> IngestBatch:
        chosen, is_hopeless = self._attempts.choose(entries)
        if is_hopeless:
            unreadable = Unreadable(None, None, None, chosen[0].data, FailsAlone())
            return make_batch([DecodedEntry(chosen[0], [], [unreadable], [])])._replace(is_left_over=True)
        self._attempts.begin(chosen)
        batch = decode_batch(chosen)
        self._attempts.forgive(chosen)
        return batch._replace(is_left_over=True)

    def _read_new(self, wait_seconds: float) -> IngestBatch | None:
        events = min(self.most_events, FIRST_EVENTS) if self._first else self.most_events
        entries = self._reader.read(events, wait_seconds)
        self._first = False
        return decode_batch(entries) if entries else None


def decode_batch(entries: Sequence[StreamEntry]) -> IngestBatch:
    """Returns a batch of these entries, decoded."""
    return make_batch([DecodedEntry(entry, *read_entry(entry.data, entry.position)) for entry in entries])


def make_batch(entries: Sequence[DecodedEntry]) -> IngestBatch:
    """Returns a batch of these entries."""
    staged = stage([row for entry in entries for row in entry.rows])
    return IngestBatch(entries, staged, volumes_of(staged.table))
