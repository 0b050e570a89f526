import logging

import pytest
from redis import Redis
from rq import SimpleWorker

from tests.workers.events import count, event, push_events
from workers import jobs, tickets
from workers.buffer.lanes import HISTORY, LIVE, Lane
from workers.ingest import ingest
from workers.process import Process
from workers.store import Connection


@pytest.fixture(autouse=True)
def _running(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "current", process)
    monkeypatch.setattr(jobs, "FAULT_SECONDS", 0.001)


@pytest.mark.parametrize("lane", [LIVE, HISTORY], ids=["live", "history"])
def test_a_ticket_drains_its_lane(redis: Redis, connection: Connection, lane: Lane) -> None:
    push_events(redis, event(), lane=lane)
    tickets.reissue(redis, lane.queue)
    SimpleWorker([lane.queue], connection=redis, serializer="json").work(burst=True, logging_level="WARNING")
    assert count(connection, "events") == 1
    assert tickets.count_waiting(redis, "score") == 1
    assert not redis.keys("rq:job:*ingest*")


def test_a_score_ticket_scores_who_is_due(redis: Redis, connection: Connection) -> None:
    push_events(redis, event())
    jobs.ingest_live()
    SimpleWorker(["score"], connection=redis, serializer="json").work(burst=True, logging_level="WARNING")
    assert count(connection, "risk_history") == 1


def test_a_fault_of_ours_loses_nothing_and_is_told(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push_events(redis, event())
    monkeypatch.setattr(ingest, "store_batch", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR), pytest.raises(ZeroDivisionError):
        jobs.ingest_live()
    assert "tried again" in caplog.text
    assert redis.xlen(LIVE.stream) == 1
