import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from redis import Redis

from tests.waiting import wait_until
from workers import heartbeat, jobs
from workers.__main__ import run
from workers.heartbeat import STUCK_SECONDS, WORKERS, Beat, Beats, Heartbeat, find_faults, keep_beating, parse
from workers.process import Process

SAID = b'{"kind":"score","up_seconds":100,"busy_seconds":null,"progress_seconds":null}'


def read(redis: Redis) -> Beats:
    pipeline = redis.pipeline()
    heartbeat.queue_read(pipeline)
    return parse(pipeline.execute()[0])


def beat(**fields: Any) -> Beat:
    """A process that has been busy all its life and got nothing done."""
    busy = Beat("score", up_seconds=600.0, busy_seconds=500.0, progress_seconds=None)
    return msgspec.structs.replace(busy, **fields)


def test_a_process_is_on_the_list_while_it_runs(redis: Redis) -> None:
    with keep_beating(Heartbeat(), redis, "one", "ingest"), keep_beating(Heartbeat(), redis, "two", "clock"):
        wait_until(lambda: len(read(redis)) == 2, timeout=60)
        assert {name: first.kind for name, first in read(redis).items()} == {"one": "ingest", "two": "clock"}
    assert read(redis) == {}
    assert not redis.exists(WORKERS)


def test_it_says_that_its_work_hangs_while_it_hangs(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work needs not do anything for that."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(jobs, "current", process)
    release = threading.Event()
    thread = threading.Thread(target=jobs._run, args=(lambda _: release.wait(60),))
    with keep_beating(process.heartbeat, redis, "one", "score"):
        wait_until(lambda: read(redis), timeout=60)
        assert list(find_faults(read(redis), {})) == []
        thread.start()
        (fault,) = wait_until(lambda: list(find_faults(read(redis), {})), timeout=60)
        assert fault.startswith("score one has got nothing done for 0 seconds")
        release.set()
        thread.join()
        wait_until(lambda: not list(find_faults(read(redis), {})), timeout=60)


def test_a_process_that_fell_silent_is_gone_and_forgotten_later(redis: Redis) -> None:
    now = int(redis.time()[0])
    for name, silent in {"fresh": 1, "gone": 30, "long gone": 4000}.items():
        redis.hset(WORKERS, name, b"%d " % (now - silent) + SAID)
    assert list(read(redis)) == ["fresh"]
    heartbeat.forget(redis)
    assert sorted(redis.hkeys(WORKERS)) == [b"fresh", b"gone"]


@pytest.mark.parametrize("seconds", [3600, -3600, 86_400, -86_400])
def test_ages_do_not_follow_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    own_heartbeat, now = Heartbeat(), time.time()
    with own_heartbeat.busy():
        own_heartbeat.progress()
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        report = own_heartbeat.report("ingest")
    assert report.stuck_seconds == 0
    assert max(report.up_seconds, report.busy_seconds or 0, report.progress_seconds or 0) < 3000


@pytest.mark.parametrize("hours", [1, 24, -1, -24])
def test_when_redis_clock_jumps_those_who_beat_are_there_and_those_who_are_gone_are_not(
    redis: Redis, hours: int
) -> None:
    """A beat from before the jump looks as if it lay far ahead, or far back, until the next one is there."""
    before = int(redis.time()[0]) - hours * 3600
    for name in ("lives", "died"):
        redis.hset(WORKERS, name, b"%d " % before + SAID)
    redis.eval(heartbeat.BEAT, 1, WORKERS, "lives", SAID)
    assert list(read(redis)) == ["lives"]
    heartbeat.forget(redis)
    assert b"lives" in redis.hkeys(WORKERS)
    if abs(hours) > 1:
        assert redis.hkeys(WORKERS) == [b"lives"]


def test_what_counts_is_when_something_last_got_done() -> None:
    assert beat().stuck_seconds == 500
    assert beat(progress_seconds=STUCK_SECONDS - 1).stuck_seconds == 0
    assert beat(progress_seconds=400.0).stuck_seconds == 400
    assert beat(progress_seconds=400.0, busy_seconds=None).stuck_seconds == 0
    assert beat(progress_seconds=400.0, busy_seconds=5.0).stuck_seconds == 0  # it was idle before


def test_a_missing_kind_is_said_with_its_remedy() -> None:
    assert list(find_faults({}, {"score": "python -m workers score"})) == [
        "no score process runs; start `python -m workers score`"
    ]
    (stuck,) = find_faults({"one": beat(trouble="Postgres can't do it now: …")}, {"score": "x"})
    assert stuck == "score one has got nothing done for 500 seconds (Postgres can't do it now: …)"


def fail(*_: object) -> None:
    raise TimeoutError


def test_jobs_that_are_ended_and_begun_again_for_ever_are_stuck(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is too short to count as stuck; what counts is that nothing gets done."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(jobs, "FAULT_SECONDS", 0.01)
    monkeypatch.setattr(jobs, "current", process)

    def is_stuck() -> bool:
        with pytest.raises(TimeoutError):
            jobs._run(fail)
        return bool(list(find_faults(read(redis), {})))

    with keep_beating(process.heartbeat, redis, "one", "ingest"):
        wait_until(is_stuck, timeout=60)
        jobs._run(lambda _: None)  # there was nothing to do
        wait_until(lambda: not list(find_faults(read(redis), {})), timeout=60)


def test_a_job_that_failed_after_something_got_done_is_not_stuck() -> None:
    own_heartbeat = Heartbeat()
    with suppress(TimeoutError), own_heartbeat.busy():
        own_heartbeat.progress()
        raise TimeoutError
    assert own_heartbeat.report("ingest").busy_seconds is None


def test_a_job_that_gave_up_on_postgres_is_still_in_trouble() -> None:
    own_heartbeat = Heartbeat()
    with own_heartbeat.busy():
        own_heartbeat.trouble("Postgres is away")
    between = own_heartbeat.report("ingest")
    assert (between.busy_seconds is not None, between.trouble) == (True, "Postgres is away")
    with own_heartbeat.busy():
        own_heartbeat.progress()
    after = own_heartbeat.report("ingest")
    assert (after.busy_seconds, after.trouble) == (None, None)


def test_trouble_is_over_when_something_gets_done() -> None:
    own_heartbeat = Heartbeat()
    with own_heartbeat.busy():
        own_heartbeat.trouble("Postgres is away")
        assert own_heartbeat.report("score").trouble == "Postgres is away"
        own_heartbeat.progress()
        assert own_heartbeat.report("score").trouble is None
        own_heartbeat.trouble("again")
    report = own_heartbeat.report("score")
    assert (report.busy_seconds, report.trouble) == (None, None)


def test_a_redis_that_is_away_harms_nobody() -> None:
    with Redis.from_url("redis://127.0.0.1:1") as away, keep_beating(Heartbeat(), away, "one", "score"):
        pass


def test_a_worker_waits_for_work_on_a_connection_that_nobody_opened_before(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the pulse had opened would give up after redis-py's usual 5 seconds, again and again."""
    beaten: list[Redis] = []

    @contextmanager
    def noted(pulse: Heartbeat, redis: Redis, name: str, kind: str) -> Iterator[None]:
        beaten.append(redis)
        yield

    monkeypatch.setattr("workers.heartbeat.keep_beating", noted)
    monkeypatch.setattr("workers.__main__.work", lambda process, kind: None)
    monkeypatch.setattr("workers.__main__._stop_on_signals", lambda process: None)
    run(process, "score")
    assert len(beaten) == 1
    assert beaten[0] is not process.redis
