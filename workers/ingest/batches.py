"""A lane's batches: read from the buffer and understood, each while the one before is stored."""

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from workers.buffer.rows import Row, Unreadable, read_entry
from workers.buffer.staging import Incoming, incoming
from workers.buffer.stream import Reader, Waiting
from workers.settings import Settings
from workers.tracking.volume import Volumes, volumes_of

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """An entry of the buffer, understood."""

    waiting: Waiting
    rows: list[Row]
    unreadable: list[Unreadable]


class Batch(NamedTuple):
    """Entries that are stored together, their rows made ready, and how many there are by account and hour."""

    entries: Sequence[Entry]
    incoming: Incoming
    volumes: Volumes

    @property
    def waiting(self) -> list[Waiting]:
        """The entries as they are in the buffer."""
        return [entry.waiting for entry in self.entries]

    @property
    def events(self) -> int:
        """How many events that are."""
        return sum(entry.waiting.events for entry in self.entries)

    def without(self, ids: Collection[bytes]) -> "Batch":
        """The batch without the entries of these ids."""
        return _batch([entry for entry in self.entries if entry.waiting.id not in ids]) if ids else self


class Batches:
    """What is left over of a lane, then what is fresh. `ahead` reads the next batch while this one is being stored."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader, self._settings = reader, settings
        self._left_over = True
        self._ahead: Batch | None = None
        self._last = False

    def next(self, wait_seconds: float) -> Batch | None:
        """The next batch; waits this long for one. None: there is nothing, or it was said that no more are wanted."""
        if self._ahead is not None:
            batch, self._ahead = self._ahead, None
            return batch
        if self._last:
            return None
        if self._left_over:
            if entries := self._reader.left_over(self._settings.claim_seconds):
                return understood(entries)
            self._left_over = False
        return self._fresh(wait_seconds)

    def ahead(self) -> None:
        """Read the next batch, if one is there."""
        if self._ahead is None and not self._left_over and not self._last:
            try:
                self._ahead = self._fresh(0)
            except RedisError as error:  # whoever asks for the next one meets it again
                log.info("the next batch can't be read ahead: %s", error)

    def no_more(self) -> None:
        """Read no further: what was read ahead is the last."""
        self._last = True

    def _fresh(self, wait_seconds: float) -> Batch | None:
        entries = self._reader.read(self._settings.batch_events, wait_seconds)
        return understood(entries) if entries else None


def understood(entries: Sequence[Waiting]) -> Batch:
    """A batch of these entries."""
    return _batch([Entry(waiting, *read_entry(waiting.entry)) for waiting in entries])


def _batch(entries: Sequence[Entry]) -> Batch:
    volumes = Volumes()
    for entry in entries:
        volumes.update(volumes_of(entry.waiting.id, entry.rows))
    return Batch(entries, incoming([row for entry in entries for row in entry.rows]), volumes)
