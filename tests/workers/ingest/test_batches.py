"""How batches are read from the buffer."""

from typing import Any

import pytest
from redis import Redis

from tests.workers.events import event, push_events, with_batch
from workers import tickets
from workers.buffer import stream
from workers.buffer.attempts import Attempts
from workers.buffer.lanes import HISTORY, LIVE
from workers.buffer.stream import Reader
from workers.ingest import batches, ingest
from workers.ingest.batches import Batches, IngestBatch
from workers.ingest.giving_way import GivingWay
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection


def test_a_batch_is_read_up_to_its_size(process: Process, redis: Redis) -> None:
    for _ in range(stream.READ_ENTRIES + 10):
        push_events(redis, *[event() for _ in range(10)])
    reader = Reader(redis, LIVE, "reader")
    reader.read_left_over(60, 1000)
    batch = reader.read(events=5000, wait_seconds=0.01)
    assert sum(waiting.events for waiting in batch) == (stream.READ_ENTRIES + 10) * 10


def test_a_large_left_over_is_taken_up_whole(process: Process, redis: Redis, connection: Connection) -> None:
    for _ in range(stream.READ_ENTRIES * 2 + 10):
        push_events(redis, event())
    process.name = "it"
    mine = Reader(redis, LIVE, "it")
    mine.read_left_over(60, 1000)
    mine.read(events=5000, wait_seconds=0.01)
    assert drain(process, LIVE).stored == stream.READ_ENTRIES * 2 + 10


def test_a_batch_is_read_while_another_is_stored(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was read ahead is stored before a ticket ends, also when its time is over."""
    monkeypatch.setattr(batches, "AHEAD_OF_EVENTS", 1)
    small = with_batch(process, 150)
    for _ in range(200):
        push_events(redis, event())
    reader = Reader(redis, LIVE, process.name)
    with Batches(reader, Attempts(redis, LIVE), small) as reading:
        first = reading.next(0.01)
        assert first
        reading.read_ahead(first)
        reading.read_ahead(first)
    pending: Any = redis.xpending(LIVE.stream, "ingest")
    assert pending["pending"] == 102
    reading.no_more()
    second = reading.next(0.01)
    assert second
    assert first.events + second.events == 102
    assert reading.next(0.01) is None


def test_an_import_that_gives_way_rests_and_reads_nothing_ahead(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While live events come; all of the import is stored."""
    monkeypatch.setattr(batches, "AHEAD_OF_EVENTS", 1)
    monkeypatch.setattr(GivingWay, "find_rest", lambda self: 0.001)
    rests: list[float | None] = []
    ahead: list[bool] = []
    read_ahead = Batches.read_ahead

    def wait(seconds: float | None = None) -> bool:
        rests.append(seconds)
        return False

    def note(self: Batches, batch: IngestBatch) -> None:
        ahead.append(self.reads_ahead)
        read_ahead(self, batch)

    monkeypatch.setattr(process.stopping, "wait", wait)
    monkeypatch.setattr(Batches, "read_ahead", note)
    process.settings = with_batch(process, 1)
    for _ in range(3):
        push_events(redis, event(), lane=HISTORY)
    assert drain(process, HISTORY).stored == 3
    assert ahead == [True, False, False]
    assert rests == [0.001] * 3


def test_a_ticket_whose_time_is_over_leaves_nothing_pending(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "BUDGET_SECONDS", -1)
    monkeypatch.setattr(batches, "AHEAD_OF_EVENTS", 1)
    process.settings = with_batch(process, 1)
    for _ in range(3):
        push_events(redis, event())
    assert drain(process, LIVE).stored == 2
    pending: Any = redis.xpending(LIVE.stream, "ingest")
    assert pending["pending"] == 0
    assert tickets.count_waiting(redis, LIVE.queue) == 1
