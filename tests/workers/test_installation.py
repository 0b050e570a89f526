"""Two installations never mix: an id ties Redis and Postgres together."""

import logging
import uuid

import pytest
from redis import Redis

from tests.workers.events import count, event, push_events
from workers import clock, installation, jobs
from workers.accounts import keys
from workers.accounts.keys import MIRROR
from workers.buffer.lanes import LIVE
from workers.ingest import ingest
from workers.installation import ForeignRedis
from workers.process import Process
from workers.store import Connection


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, process: Process) -> None:
    monkeypatch.setattr(jobs, "current", process)
    monkeypatch.setattr(jobs, "FAULT_SECONDS", 0.001)
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)


@pytest.fixture
def foreign(redis: Redis) -> None:
    redis.set(installation.KEY, str(uuid.uuid4()))


def test_an_empty_redis_takes_the_id_of_the_first(process: Process, redis: Redis, connection: Connection) -> None:
    process.check_installation()
    assert redis.get(installation.KEY) == installation.find_id(connection).encode()
    redis.flushall()
    process.check_installation()
    assert redis.exists(installation.KEY)


@pytest.mark.usefixtures("foreign")
def test_workers_leave_the_events_of_another_installation_alone(
    redis: Redis, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    push_events(redis, event())
    with caplog.at_level(logging.ERROR), pytest.raises(ForeignRedis):
        jobs.ingest_live()
    assert "WINDBACK_REDIS_PREFIX" in caplog.text
    assert redis.xlen(LIVE.stream) == 1
    assert count(connection, "events") == 0


@pytest.mark.usefixtures("foreign")
def test_a_clock_leaves_the_keys_of_another_installation_alone(process: Process, redis: Redis) -> None:
    redis.hset(MIRROR, "theirs", "{}")
    with pytest.raises(ForeignRedis):
        clock._may_work(process)
    with pytest.raises(ForeignRedis):
        clock.mirror_keys(process)
    assert redis.hkeys(MIRROR) == [b"theirs"]


@pytest.mark.usefixtures("foreign")
def test_no_key_is_made_for_another_installations_door(connection: Connection, redis: Redis) -> None:
    with pytest.raises(ForeignRedis):
        keys.create(connection, redis, "acme")
    assert count(connection, "api_keys") == 0
