import logging
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job

from tests.workers.events import count, event, push_events
from workers import __main__ as workers_main
from workers import jobs, tickets
from workers.buffer.lanes import HISTORY, LIVE, Lane
from workers.ingest import ingest
from workers.process import Process
from workers.store import Connection
from workers.tickets import Ticket


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
    assert not redis.keys("*rq:job:*ingest*")


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


def put(redis: Redis, function: str, *arguments: str, **options: Any) -> Job:
    """A job as anybody who can write to Redis may put it into one of our queues."""
    return Queue("ingest", connection=redis, serializer="json").enqueue(function, *arguments, **options)


def work(process: Process) -> None:
    workers_main._worker(process, "ingest").work(burst=True, logging_level="CRITICAL")


@pytest.mark.parametrize("function", ["os.system", "os.mkdir", "shop.task", "workers.jobs.ingest_live"])
def test_a_job_that_is_not_on_the_list_is_not_run(
    process: Process, redis: Redis, tmp_path: Path, function: str
) -> None:
    """Nor one of the list with arguments: ours have none."""
    command = f"touch {tmp_path / 'made'}" if function == "os.system" else str(tmp_path / "made")
    put(redis, function, command)
    work(process)
    assert list(tmp_path.iterdir()) == []


def test_what_a_job_names_beside_its_function_is_not_run(
    process: Process, redis: Redis, connection: Connection, tmp_path: Path
) -> None:
    """Callbacks of success and failure, also of a job whose worker died."""
    push_events(redis, event())
    job = put(redis, "workers.jobs.ingest_live")
    for name in ("success", "failure", "stopped"):
        redis.hset(job.key, f"{name}_callback_name", "os.mkdir")
    work(process)
    assert count(connection, "events") == 1
    ticket = Ticket.fetch(job.id, connection=redis, serializer="json") if redis.exists(job.key) else None
    assert ticket is None or (ticket.failure_callback, ticket.success_callback) == (None, None)


def test_other_applications_jobs_are_left_alone(process: Process, redis: Redis) -> None:
    """They have RQ's own prefix, whatever their queue is called."""
    redis.rpush("rq:queue:ingest", "theirs")
    redis.hset("rq:job:theirs", mapping={"data": "x", "origin": "ingest"})
    work(process)
    assert redis.lrange("rq:queue:ingest", 0, -1) == [b"theirs"]
    assert not redis.keys("rq:failed*")


def test_all_jobs_are_on_the_list() -> None:
    functions = [name for name, value in vars(jobs).items() if callable(value) and value.__module__ == jobs.__name__]
    assert {f"workers.jobs.{name}" for name in functions if not name.startswith("_")} == set(tickets.OURS)
