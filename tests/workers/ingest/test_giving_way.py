"""An import rests after a batch where live events came meanwhile and processors are short."""

from pathlib import Path

import pytest
from redis import Redis

from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest import giving_way
from workers.ingest.giving_way import GivingWay, read_scheduler


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr("workers.ingest.giving_way.monotonic", lambda: now[0])
    return now


def has_waited(monkeypatch: pytest.MonkeyPatch, run: int, waited: int) -> None:
    monkeypatch.setattr(giving_way, "read_scheduler", lambda: (run, waited))


def test_it_rests_as_long_as_the_batch_took(redis: Redis, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    has_waited(monkeypatch, 0, 0)
    state = GivingWay(redis, HISTORY)
    redis.hincrby(LIVE.ledger, "accepted", 1)
    has_waited(monkeypatch, 1_000, 900)
    clock[0] += 0.3
    assert state.find_rest() == pytest.approx(giving_way.REST * 0.3)


@pytest.mark.parametrize(("live", "waited"), [(0, 900), (1, 0), (1, 50)])
def test_it_goes_on_without_live_events_or_with_processors_to_spare(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, clock: list[float], live: int, waited: int
) -> None:
    has_waited(monkeypatch, 0, 0)
    state = GivingWay(redis, HISTORY)
    redis.hincrby(LIVE.ledger, "accepted", live)
    has_waited(monkeypatch, 1_000, waited)
    clock[0] += 0.3
    assert state.find_rest() == 0


def test_the_time_of_a_rest_is_no_batchs(redis: Redis, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    has_waited(monkeypatch, 0, 0)
    state = GivingWay(redis, HISTORY)
    clock[0] += 10
    state.begin()
    redis.hincrby(LIVE.ledger, "accepted", 1)
    has_waited(monkeypatch, 1_000, 900)
    clock[0] += 0.2
    assert state.find_rest() == pytest.approx(giving_way.REST * 0.2)


def test_batches_are_small_while_live_events_come(redis: Redis) -> None:
    small = 20_000 * giving_way.SMALL
    state = GivingWay(redis, HISTORY)
    assert state.find_size(20_000) == small  # nothing is known yet
    state.find_rest()
    assert state.find_size(20_000) == 20_000
    redis.hincrby(LIVE.ledger, "accepted", 1)
    state.find_rest()
    assert (state.find_size(20_000), state.find_size(1)) == (small, 1)


def test_what_the_scheduler_says_only_rises() -> None:
    before = read_scheduler()
    sum(range(100_000))
    assert all(now >= then for now, then in zip(read_scheduler(), before, strict=True))


def test_a_system_that_does_not_say_is_never_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_way, "SCHEDULER", Path("/nonexistent"))
    assert read_scheduler() == (0, 0)
