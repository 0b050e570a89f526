import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from redis import Redis

from tests.workers.events import entry, event, push, push_events, request
from workers.buffer.entries import encode_entry
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import rescore
from workers.risk.rescore import rescore_due
from workers.store import Connection
from workers.tracking import outages, volume
from workers.tracking.outages import Outage, outages_of, update_outage
from workers.tracking.volume import Volumes

THIS_HOUR = int(time.time() // 3600)
OUT_HOURS = 120
CUSTOMERS = 20


@pytest.fixture
def silent(process: Process, connection: Connection) -> Process:
    """An account of 50 events an hour, of customers who come daily, and whose tracking stopped five days ago."""
    connection.execute("INSERT INTO accounts (name) VALUES ('acme')")
    receive(process.redis, range(THIS_HOUR - 6 * 168, THIS_HOUR - OUT_HOURS))
    now = datetime.now(UTC)
    logins = [
        event(customer_email=f"c{n}@example.com", timestamp=(now - timedelta(days=day, hours=n % 24)).isoformat())
        for n in range(CUSTOMERS)
        for day in range(5, 60, 1 + n % 3)
    ]
    push_events(process.redis, *logins, lane=HISTORY)
    drain(process, HISTORY)
    return process


def receive(redis: Redis, hours: range, events: int = 50) -> None:
    volume.add(redis, Volumes({(1, hour): events for hour in hours}))


def scored(process: Process, connection: Connection) -> tuple[float, bool | None]:
    """The mean risk once everybody who is due is scored, and whether it is said to be stale."""
    rescore.drain(process)
    row = connection.execute(
        "SELECT avg(probability), bool_and(stale_input), bool_or(stale_input) FROM customers"
    ).fetchone()
    assert row
    assert row[1] == row[2]
    return float(row[0]), row[1]


def test_live_events_are_counted_by_account_and_hour(process: Process, redis: Redis) -> None:
    push_events(redis, event(), event(), event())
    push_events(redis, event(timestamp="2025-12-01"), lane=HISTORY)
    push(redis, b"\xc1garbage")
    drain(process, LIVE)
    drain(process, HISTORY)
    volumes = volume.read(redis, 1, int(time.time() // 3600) + 1)
    assert (volumes[-2:].sum(), volumes.sum()) == (3, 3)
    assert all(0 < redis.ttl(key) <= volume.KEPT_SECONDS for key in redis.scan_iter("windback:volume:*"))


@pytest.mark.parametrize("days", [1, -1])
def test_ids_of_a_redis_whose_clock_jumped_put_no_volume_elsewhere(process: Process, redis: Redis, days: int) -> None:
    """Ids stay ahead for as long as the clock once was; volume goes by when the door took the events."""
    ahead = int((time.time() + days * 86_400) * 1000)
    data = encode_entry(entry(request(event(), received_us=time.time_ns() // 1000)))
    redis.xadd(LIVE.stream, {"n": 1, "entry": data}, id=f"{ahead}-0")
    redis.hincrby(LIVE.ledger, "accepted", 1)
    drain(process, LIVE)
    volumes = volume.read(redis, 1, int(time.time() // 3600) + 1)
    assert (volumes[-2:].sum(), volumes.sum()) == (1, 1)
    assert len(redis.keys("windback:volume:*")) == 1


def test_a_door_whose_clock_is_ahead_counts_for_now(process: Process, redis: Redis) -> None:
    """Else a day in which others are behind would look like an outage."""
    ahead_us = int((time.time() + 86_400) * 1_000_000)
    push(redis, entry(request(event(), received_us=ahead_us)))
    drain(process, LIVE)
    volumes = volume.read(redis, 1, int(time.time() // 3600) + 1)
    assert (volumes[-2:].sum(), volumes.sum()) == (1, 1)


def test_volumes_are_read_by_the_hour_over_weeks(redis: Redis) -> None:
    hours = range(THIS_HOUR - 400, THIS_HOUR)
    for hour in hours:
        receive(redis, range(hour, hour + 1), hour - THIS_HOUR + 1000)
    found = volume.read(redis, 1, THIS_HOUR)
    assert len(found) == volume.HOURS
    assert found[-400:].tolist() == list(np.arange(-400, 0) + 1000)
    assert not found[:-400].any()


def test_an_account_whose_tracking_is_out_looks_as_it_did_before(silent: Process, connection: Connection) -> None:
    """The mean risk stays within a tenth while it lasts and when it is over; it says that it is stale while it is."""
    rises, _ = scored(silent, connection)
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR)
    assert outages_of(connection, 1) == [Outage(THIS_HOUR - OUT_HOURS, None)]
    frozen, stale = scored(silent, connection)
    assert stale
    connection.execute("UPDATE customers SET rescore_at = now()")
    again, stale = scored(silent, connection)
    assert stale
    assert again == pytest.approx(frozen)
    assert rises > 1.3 * frozen

    receive(silent.redis, range(THIS_HOUR, THIS_HOUR + 2))
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR + 2)
    assert outages_of(connection, 1) == [Outage(THIS_HOUR - OUT_HOURS, THIS_HOUR)]
    ended, stale = scored(silent, connection)
    assert not stale
    assert ended == pytest.approx(frozen, rel=0.1)
    push_events(silent.redis, *[event(customer_email=f"c{n}@example.com") for n in range(CUSTOMERS)])
    drain(silent, LIVE)
    connection.execute("UPDATE customers SET rescore_at = now()")
    back, _ = scored(silent, connection)
    assert back < frozen * 1.1


def test_a_frozen_customer_is_not_scored_again_and_again(silent: Process, connection: Connection) -> None:
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR)
    rescore_due(silent)
    row = connection.execute("SELECT bool_and(rescore_at > now()) FROM customers").fetchone()
    assert row == (True,)


def test_who_is_seen_although_tracking_is_out_is_scored_by_it(silent: Process, connection: Connection) -> None:
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR)
    before, _ = scored(silent, connection)
    push_events(silent.redis, *[event(customer_email=f"c{n}@example.com") for n in range(CUSTOMERS)])
    drain(silent, LIVE)
    connection.execute("UPDATE customers SET rescore_at = now()")
    after, stale = scored(silent, connection)
    assert (after < before, stale) == (True, True)


def test_an_account_that_works_is_left_alone(process: Process, connection: Connection) -> None:
    receive(process.redis, range(THIS_HOUR - 6 * 168, THIS_HOUR))
    update_outage(process.connection(), process.redis, 1, THIS_HOUR)
    assert outages_of(connection, 1) == []


def test_an_outage_that_was_only_a_line_that_stood_still_never_was(silent: Process, connection: Connection) -> None:
    """Waiting events count for the hours in which they were received."""
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR)
    receive(silent.redis, range(THIS_HOUR - OUT_HOURS, THIS_HOUR))
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR)
    assert outages_of(connection, 1) == []


def test_the_clock_looks_at_every_account(silent: Process, connection: Connection) -> None:
    outages.Watch().go_on(silent.connection(), silent.redis)
    ((account_id, ended_at),) = connection.execute("SELECT account_id, ended_at FROM outages").fetchall()
    assert (account_id, ended_at) == (1, None)


def test_a_second_outage_does_not_reach_into_the_first(silent: Process, connection: Connection) -> None:
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR)
    receive(silent.redis, range(THIS_HOUR, THIS_HOUR + 1))
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR + 1)
    update_outage(silent.connection(), silent.redis, 1, THIS_HOUR + 8)
    assert outages_of(connection, 1) == [
        Outage(THIS_HOUR - OUT_HOURS, THIS_HOUR),
        Outage(THIS_HOUR + 1, None),
    ]
