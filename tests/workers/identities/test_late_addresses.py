"""Addresses of a user id that overtake each other: all history is the person's, but for what was there before."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis as AsyncRedis

from tests.workers.events import event
from tests.workers.identities.test_resolving import JANE, NEW, named, of_user, say, send, stored
from workers.buffer.lanes import LIVE
from workers.identities import identify
from workers.ingest import resolving
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection
from workers.upkeep.totals import tally
from workers.warnings import count_last_day

FIRST, THIRD = "first@example.com", "third@example.com"
SECOND_US = 1_000_000
IN_USE = {"address_in_use": 1}


@pytest.fixture
def clock_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nobody makes changes of addresses, until this is undone."""
    with monkeypatch.context() as patches:
        patches.setattr(resolving, "drain", lambda process: 0)
        yield patches


def count_warnings(process: Process) -> dict[str, int]:
    async def count() -> dict[str, int]:
        async with AsyncRedis.from_url(process.settings.redis_url or "") as redis:
            return await count_last_day(redis, 1, datetime.now(UTC))

    return asyncio.run(count())


def tell_late(process: Process, *, minutes: float = 1, track_first: bool = True) -> None:
    """The second address of a user id is stored before the first one, which a process that died had read."""
    now_us = time.time_ns() // 1000
    if track_first:
        send(process, event(event_id="first"), of_user(event_id="waits"))
    send(process, of_user(event_id="user"), identities=[named(NEW)], at_us=now_us)
    drain(process, LIVE)
    say(process, named(), at_us=now_us - int(minutes * 60_000_000))


@pytest.mark.parametrize("track_first", [True, False])
def test_an_address_that_comes_after_the_next_one_is_the_same_persons(
    process: Process, connection: Connection, track_first: bool
) -> None:
    tell_late(process, track_first=track_first)
    send(process, event(event_id="last"), of_user(event_id="both"))
    drain(process, LIVE)
    assert stored(connection) == [(NEW, 3 + 2 * track_first)]
    tell_late(process, track_first=track_first)  # sent again, it changes nothing
    assert stored(connection) == [(NEW, 3 + 2 * track_first)]
    tally(connection)
    assert connection.execute("SELECT sum(n) FROM event_days").fetchone() == (3 + 2 * track_first,)
    assert connection.execute("SELECT count(*) FROM identities WHERE late_emails <> '{}'").fetchone() == (0,)


@pytest.mark.parametrize("latest", ["third@example.com", JANE])
def test_what_follows_a_late_address_takes_the_present_history_along(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch, latest: str
) -> None:
    """A further address comes before the change from the late one to the present one was made."""
    with monkeypatch.context() as patched:
        patched.setattr(resolving, "drain", lambda process: None)
        tell_late(process, track_first=False)
    say(process, named(latest), at_us=time.time_ns() // 1000 + 1)
    send(process, of_user(event_id="more"))
    drain(process, LIVE)
    resolving.drain(process)
    assert stored(connection) == [(latest, 2)]


def test_an_address_of_long_before_moves_nobody(process: Process, connection: Connection) -> None:
    tell_late(process, minutes=11)
    assert stored(connection) == [(JANE, 1), (NEW, 2)]


def test_a_late_address_that_is_another_user_ids_stays_theirs(process: Process, connection: Connection) -> None:
    say(process, named(user_id="user-2"))
    tell_late(process)
    assert stored(connection) == [(JANE, 1), (NEW, 2)]
    send(process, event(event_id="last"), of_user("user-2", event_id="theirs"))
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 3), (NEW, 2)]


def test_an_address_that_was_left_to_somebody_does_not_come_late(process: Process, connection: Connection) -> None:
    """The next one had a history, so this one stayed where it is: the same statement again changes nothing."""
    now_us = time.time_ns() // 1000
    send(process, of_user(), event(customer_email=NEW), identities=[named()], at_us=now_us)
    drain(process, LIVE)
    say(process, named(NEW), at_us=now_us + 1)
    say(process, named(), at_us=now_us - 1)
    assert stored(connection) == [(JANE, 1), (NEW, 1)]


@pytest.mark.parametrize(("seconds", "expected"), [(100, [(JANE, 1), (NEW, 2)]), (30, [(NEW, 3)])])
def test_what_was_at_a_late_address_before_it_was_stated_stays(
    process: Process, connection: Connection, seconds: int, expected: list[tuple[str, int]]
) -> None:
    """As if the addresses had come in their order. A warning names it."""
    now_us = time.time_ns() // 1000
    say(process, named(FIRST), at_us=now_us - 120 * SECOND_US)
    send(process, event(), at_us=now_us - seconds * SECOND_US)
    send(process, of_user(event_id="1"), identities=[named(NEW)], at_us=now_us)
    drain(process, LIVE)
    send(process, of_user(event_id="2"), identities=[named()], at_us=now_us - 60 * SECOND_US)
    drain(process, LIVE)
    assert stored(connection) == expected
    assert count_warnings(process) == (IN_USE if len(expected) > 1 else {})


@pytest.mark.parametrize("is_before", [False, True])
def test_what_was_tracked_under_an_address_that_another_one_overtook_follows(
    process: Process, connection: Connection, clock_away: pytest.MonkeyPatch, is_before: bool
) -> None:
    """The change to it was not made yet. What was there before it was stated stays."""
    say(process, named())
    send(process, of_user(event_id="1"))
    if is_before:
        send(process, event(customer_email=NEW, event_id="2"))
    say(process, named(NEW))
    send(process, event(customer_email=NEW, event_id="3"))
    say(process, named(THIRD))
    clock_away.undo()
    resolving.drain(process)
    send(process, of_user(event_id="4"))
    drain(process, LIVE)
    assert stored(connection) == ([(NEW, 2), (THIRD, 2)] if is_before else [(THIRD, 3)])
    assert count_warnings(process) == (IN_USE if is_before else {})


def test_an_address_that_is_taken_back_takes_along_what_was_tracked_under_the_other_one(
    process: Process, connection: Connection, clock_away: pytest.MonkeyPatch
) -> None:
    say(process, named(timestamp="2026-02-01T10:00"))
    say(process, named(NEW, timestamp="2026-02-01T12:00"))
    send(process, event(customer_email=NEW, event_id="1"), of_user(event_id="2"))
    say(process, named(timestamp="2026-02-01T14:00"))
    clock_away.undo()
    resolving.drain(process)
    assert stored(connection) == [(JANE, 2)]


def test_what_is_tracked_under_the_next_address_before_the_change_is_made_is_the_same_persons(
    process: Process, connection: Connection, clock_away: pytest.MonkeyPatch
) -> None:
    say(process, named())
    send(process, of_user(event_id="1"))
    say(process, named(NEW))
    send(process, event(customer_email=NEW, event_id="2"))
    drain(process, LIVE)
    clock_away.undo()
    resolving.drain(process)
    assert stored(connection) == [(NEW, 2)]
    assert count_warnings(process) == {}


def test_what_was_tracked_for_another_user_id_at_the_next_address_stays_theirs(
    process: Process, connection: Connection, clock_away: pytest.MonkeyPatch
) -> None:
    say(process, named(), named(NEW, "user-2"))
    send(process, of_user(event_id="1"))
    say(process, named(NEW))
    send(process, of_user("user-2", event_id="2"))
    drain(process, LIVE)
    clock_away.undo()
    resolving.drain(process)
    assert stored(connection) == [(JANE, 1), (NEW, 1)]


def test_few_addresses_of_a_user_id_are_noted(
    process: Process, connection: Connection, clock_away: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One id for everybody is hardly one person's."""
    monkeypatch.setattr(identify, "MOST_LATE", 2)
    emails = [f"p{number}@example.com" for number in range(5)]
    for email in emails:
        say(process, named(email))
        send(process, event(customer_email=email))
    drain(process, LIVE)
    clock_away.undo()
    resolving.drain(process)
    assert dict(stored(connection)) == {"p0@example.com": 3, "p3@example.com": 1, "p4@example.com": 1}
