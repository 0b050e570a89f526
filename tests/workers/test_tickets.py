import zlib
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from rq import Queue, SimpleWorker
from rq.registry import FailedJobRegistry

from workers import tickets

redis = pytest.fixture(lambda: fakeredis.FakeRedis())


def test_a_ticket_is_asked_for_once(redis: fakeredis.FakeRedis) -> None:
    assert [tickets.ask(redis, "ingest"), tickets.ask(redis, "ingest")] == [True, False]
    assert tickets.count_waiting(redis, "ingest") == 1


def test_a_job_that_begins_makes_room_for_the_next_ticket(redis: fakeredis.FakeRedis) -> None:
    tickets.ask(redis, "ingest")
    tickets.clear_mark(redis, "ingest")
    assert tickets.ask(redis, "ingest")


def test_queues_have_tickets_of_their_own(redis: fakeredis.FakeRedis) -> None:
    assert all(tickets.ask(redis, queue) for queue in tickets.JOBS)


def test_a_lost_ticket_is_issued_again(redis: fakeredis.FakeRedis) -> None:
    redis.set(tickets.mark_key("ingest"), 1)
    tickets.reissue(redis, "ingest")
    assert tickets.count_waiting(redis, "ingest") == 1


def test_no_mark_stays_for_ever(redis: fakeredis.FakeRedis) -> None:
    tickets.ask(redis, "score")
    assert 0 < redis.ttl(tickets.mark_key("score")) <= 60


def test_a_ticket_carries_no_data_and_nothing_executable(redis: fakeredis.FakeRedis) -> None:
    """JSON, not pickle: who can write to Redis can't run code in a worker."""
    tickets.issue(redis, "score")
    (job,) = Queue("score", connection=redis, serializer="json").jobs
    assert (job.func_name, list(job.args), job.kwargs) == ("workers.jobs.score", [], {})
    assert job.description == "score ticket"
    data: Any = redis.hget(job.key, "data")
    assert zlib.decompress(data).startswith(b"[")


def test_a_finished_ticket_leaves_nothing_behind(redis: fakeredis.FakeRedis) -> None:
    Queue("score", connection=redis, serializer="json").enqueue(
        "time.time", description="score ticket", result_ttl=0, failure_ttl=tickets.FAILURE_TTL_SECONDS
    )
    SimpleWorker(["score"], connection=redis, serializer="json").work(burst=True, logging_level="WARNING")
    assert FailedJobRegistry("score", connection=redis, serializer="json").count == 0
    assert not redis.keys("windback:rq:job:*")


def test_every_job_has_our_time_limit(redis: fakeredis.FakeRedis) -> None:
    """RQ's own, 180 s, is longer than a statement may take and than a worker's key lives."""
    tickets.enqueue(redis, "score", "workers.jobs.nightly", "nightly")
    tickets.issue(redis, "ingest")
    queues = [Queue(name, connection=redis, serializer="json") for name in ("score", "ingest")]
    assert [job.timeout for queue in queues for job in queue.jobs] == [tickets.JOB_TIMEOUT_SECONDS] * 2


def test_jobs_are_enqueued_in_one_place() -> None:
    sources = Path(tickets.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if "rq import Queue" in path.read_text()] == ["tickets.py"]
