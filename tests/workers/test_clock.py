import threading
import time
from collections import defaultdict

import msgspec
import pytest
from redis import Redis

from tests.waiting import wait_until
from tests.workers.events import event, push_events
from workers import clock, lease, tickets
from workers.accounts import keys
from workers.accounts.keys import MIRROR
from workers.buffer.lanes import HISTORY, LIVE
from workers.clock import Duty
from workers.ingest.ingest import drain
from workers.learning import nightly
from workers.process import Process
from workers.store import Connection
from workers.tracking import outages


def test_one_clock_is_active(redis: Redis) -> None:
    assert lease.hold(redis, "one")
    assert not lease.hold(redis, "two")
    assert lease.hold(redis, "one")


def test_a_clock_that_stops_gives_its_lease_back(redis: Redis) -> None:
    lease.hold(redis, "one")
    lease.release(redis, "two")
    assert not lease.hold(redis, "two")
    lease.release(redis, "one")
    assert lease.hold(redis, "two")


def test_the_lease_of_a_dead_clock_ends_by_itself(redis: Redis) -> None:
    lease.hold(redis, "dead")
    assert 0 < redis.pttl(lease.LEASE) <= lease.LEASE_SECONDS * 1000


def test_a_waiting_buffer_without_a_ticket_gets_one(process: Process, redis: Redis) -> None:
    """A ticket that was lost with its process does not stop the line."""
    push_events(redis, event(), lane=HISTORY)
    redis.set(tickets.mark_key(HISTORY.queue), 1)  # whoever set it is dead
    clock.issue_ingest_tickets(process)
    clock.issue_ingest_tickets(process)
    assert tickets.count_waiting(redis, HISTORY.queue) == 1
    assert tickets.count_waiting(redis, LIVE.queue) == 0


def test_a_due_customer_gets_a_ticket(process: Process, redis: Redis, connection: Connection) -> None:
    clock.issue_score_ticket(process)
    assert tickets.count_waiting(redis, "score") == 0
    push_events(redis, event())
    drain(process, LIVE)
    redis.flushall()
    clock.issue_score_ticket(process)
    clock.issue_score_ticket(process)
    assert tickets.count_waiting(redis, "score") == 1


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the duties that the clock tries, one of which always fails."""
    names: list[str] = []

    def told(duty: Duty) -> Duty:
        def run(process: Process) -> object:
            names.append(duty.name)
            return duty.run(process)

        return duty._replace(run=run)

    monkeypatch.setattr(clock, "DUTIES", [told(duty) for duty in (*clock.DUTIES[:2], FAULTY, *clock.DUTIES[2:])])
    return names


FAULTY = Duty("fail", 5, lambda process: 1 / 0)


def a_tick(process: Process) -> None:
    clock._tick(process, defaultdict(lambda: float("-inf")), 0.0)


def test_a_tick_waits_for_an_absent_postgres_once(process: Process, redis: Redis, tried: list[str]) -> None:
    """Connecting may take as long as a time limit; what needs Redis alone is done before."""
    push_events(redis, event())
    process.settings = msgspec.structs.replace(process.settings, database_url="postgresql://127.0.0.1:1/x")
    a_tick(process)
    assert (tried[0], len(tried)) == ("ingest tickets", 2)
    assert tickets.count_waiting(redis, LIVE.queue) == 1


def test_a_duty_with_a_fault_stops_no_other(process: Process, redis: Redis, tried: list[str]) -> None:
    a_tick(process)
    assert set(tried) == {"fail", *(duty.name for duty in clock.duties_at(process))}
    assert redis.exists(MIRROR)


def test_a_running_clock_does_its_duties_until_it_is_stopped(process: Process, redis: Redis) -> None:
    push_events(redis, event())
    thread = threading.Thread(target=clock.run, args=(process,))
    thread.start()
    try:
        wait_until(lambda: tickets.count_waiting(redis, LIVE.queue) and redis.exists(MIRROR))
    finally:
        process.stopping.set()
        thread.join()
    assert not redis.exists(lease.LEASE)


def test_ten_thousand_accounts_fit_into_the_lease(
    process: Process, connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No duty that looks at all accounts holds the clock as long as its lease lasts, and each account has its turn."""
    connection.execute("INSERT INTO accounts (name) SELECT 'account ' || n FROM generate_series(1, 10000) AS n")
    connection.execute(
        """INSERT INTO api_keys (account_id, hash, hint)
        SELECT account_id, sha256(account_id::text::bytea), 'sk' FROM accounts"""
    )
    watch = outages.Watch()
    seen: list[int] = []
    monkeypatch.setattr(outages, "update_outage", lambda _, __, account_id, ___: seen.append(account_id))
    for work in (
        lambda: watch.go_on(connection, redis),
        lambda: nightly.list_waiting(connection, redis, None),
        lambda: clock.mirror_keys(process),
        lambda: clock.mirror_keys(process),
    ):
        began = time.monotonic()
        work()
        assert time.monotonic() - began < lease.LEASE_SECONDS

    def has_seen_all() -> bool:
        watch.go_on(connection, redis)
        return len(seen) >= 10_000

    wait_until(has_seen_all, timeout=60)
    assert len(set(seen)) == len(seen)


def test_a_mirror_that_is_right_is_not_written(process: Process, connection: Connection, redis: Redis) -> None:
    keys.create(connection, redis, "acme")
    redis.config_resetstat()
    clock.mirror_keys(process)
    assert "cmdstat_hset" not in redis.info("commandstats")
    redis.hdel(MIRROR, *redis.hkeys(MIRROR))
    clock.mirror_keys(process)
    assert redis.hlen(MIRROR) == 2


def test_a_clock_that_lost_its_lease_during_a_duty_does_no_more(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def first(_: Process) -> None:
        done.append("first")
        redis.set(lease.LEASE, "another", px=10_000)

    duties = (Duty("first", 0, first), Duty("second", 0, lambda _: done.append("second")))
    monkeypatch.setattr(clock, "DUTIES", duties)
    clock._tick(process, dict.fromkeys(("first", "second"), float("-inf")), 0.0)
    assert done == ["first"]


def test_a_lease_from_before_redis_clock_went_back_is_free(redis: Redis) -> None:
    """Keys end by the wall clock: after an hour back they would last an hour longer."""
    redis.set(lease.LEASE, "dead", px=3_600_000)
    assert lease.hold(redis, "one")
