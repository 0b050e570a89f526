"""The customers whose history is arriving, by the door's notes and the waiting entries of the lanes."""

import pytest
from redis import Redis

from tests.workers.events import entry, event, push, request
from workers.buffer import arrivals
from workers.buffer.arrivals import find_arrivals
from workers.buffer.lanes import HISTORY, LIVE

ENTRY = entry(request(event()))


def test_history_arrives_while_an_accounts_latest_entry_waits_and_a_moment_longer(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not find_arrivals(redis, [1, 2]).hold(1)
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    held = find_arrivals(redis, [1, 2])
    assert (held.hold(1), held.hold(2)) == (True, False)
    redis.delete(HISTORY.stream)
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 5.0)
    assert find_arrivals(redis).account_ids == {1}, "the next batch may be on its way"
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 0.0)
    assert not find_arrivals(redis).account_ids


def test_an_account_waits_for_its_own_entries_not_for_those_that_came_later(redis: Redis) -> None:
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    push(redis, ENTRY, lane=HISTORY, arriving=[2])
    assert find_arrivals(redis).account_ids == {1, 2}
    redis.xtrim(HISTORY.stream, maxlen=1, approximate=False)
    assert find_arrivals(redis).account_ids == {2}


def test_a_late_event_every_few_seconds_holds_nobody_for_ever(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    redis.delete(HISTORY.stream)
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 5.0)
    assert find_arrivals(redis).account_ids == {1}
    monkeypatch.setattr(arrivals, "LONGEST_SECONDS", 0.0)
    assert not find_arrivals(redis).account_ids


def test_the_beginning_of_an_import_is_kept_until_it_pauses(redis: Redis) -> None:
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    began = redis.hget(HISTORY.arrivals, "1").split()[0]  # type: ignore[union-attr]
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    assert redis.hget(HISTORY.arrivals, "1").split()[0] == began  # type: ignore[union-attr]
    redis.hset(HISTORY.arrivals, "1", b"5 5-0 5")
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    assert int(redis.hget(HISTORY.arrivals, "1").split()[0]) >= int(began)  # type: ignore[union-attr]
    assert redis.ttl(HISTORY.arrivals) > 0


def test_live_events_that_wait_for_long_make_every_risk_provisional(redis: Redis) -> None:
    redis.xadd(LIVE.stream, {"n": 1, "entry": b""}, id="1000-0")
    assert find_arrivals(redis, [7]).hold(7)


@pytest.mark.parametrize("hours", [1, 24, -24])
def test_a_clock_of_redis_that_jumps_holds_nobody(redis: Redis, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Entries from before the jump are over; later ones arrive, though their ids stay ahead."""
    monkeypatch.setattr(arrivals, "QUIET_SECONDS", 5.0)
    jumped = int(redis.time()[0] * 1000) + hours * 3_600_000
    redis.hset(HISTORY.arrivals, "1", b"%d %d-0 %d" % (jumped, jumped, jumped))
    assert not find_arrivals(redis).account_ids
    if hours > 0:  # ids never go back
        redis.xadd(HISTORY.stream, {"n": 0, "entry": b""}, id=f"{jumped}-0")
    push(redis, ENTRY, lane=HISTORY, arriving=[1])
    redis.xtrim(HISTORY.stream, maxlen=0, approximate=False)
    assert find_arrivals(redis).account_ids == {1}
    since = int(redis.hget(HISTORY.arrivals, "1").split()[0])  # type: ignore[union-attr]
    assert abs(since - int(redis.time()[0] * 1000)) < 60_000
