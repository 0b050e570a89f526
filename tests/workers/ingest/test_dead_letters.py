"""Replaying dead letters: in steps that are each done for good, however many letters there are."""

from itertools import islice

import pytest
from redis import Redis

from tests.workers.events import count, event, push_events
from workers.buffer.lanes import LIVE
from workers.ingest import dead_letters
from workers.ingest.dead_letters import REPLAYED_TOGETHER
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection

LETTERS = REPLAYED_TOGETHER + 50


def bury_many(process: Process, redis: Redis) -> None:
    """Letters that Postgres refuses: half of them for ever."""
    sent = [event(event=f"e{n}", timestamp="2025-12-01", properties={"a": "\0"}) for n in range(LETTERS)]
    for start in range(0, LETTERS, 50):
        push_events(redis, *sent[start : start + 50])
    while redis.xlen(LIVE.stream):
        drain(process, LIVE)


def test_letters_without_hope_are_tried_once_each_and_progress_shows(
    process: Process, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halving a step of them costs twice as many attempts as there are; so that is done for the first step alone."""
    bury_many(process, redis)
    attempts: list[int] = []
    replay_together = dead_letters._replay_together

    def counting(connection: Connection, ids: list[str], seconds: float) -> object:
        attempts.append(len(ids))
        return replay_together(connection, ids, seconds)

    monkeypatch.setattr(dead_letters, "_replay_together", counting)
    steps = list(dead_letters.replay(connection, dead_letters.list_ids(connection, []), 5))
    assert (len(steps), sum(step.failed for step in steps)) == (1 + 50, LETTERS)
    assert len(attempts) < 2 * REPLAYED_TOGETHER + 50
    assert count(connection, "dead_letters") == LETTERS


def test_a_replay_that_is_interrupted_keeps_what_it_did(process: Process, redis: Redis, connection: Connection) -> None:
    bury_many(process, redis)
    connection.execute(
        r"UPDATE dead_letters SET body = decode(replace(encode(body, 'escape'), '\\\\u0000', ''), 'escape')"
    )
    letters = dead_letters.list_ids(connection, [])
    (step,) = islice(dead_letters.replay(connection, letters, 5), 1)  # and then the process is killed
    assert (step.letters, step.failed) == (REPLAYED_TOGETHER, 0)
    assert (count(connection, "events"), count(connection, "dead_letters")) == (REPLAYED_TOGETHER, 50)
    (rest,) = dead_letters.replay(connection, dead_letters.list_ids(connection, []), 5)
    assert rest.letters == 50
    assert count(connection, "events") == LETTERS
