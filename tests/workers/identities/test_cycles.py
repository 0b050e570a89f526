"""Addresses that are swapped, passed on and merged in a circle: each event stays stored once, under one customer."""

import itertools
from typing import Any

import pytest

from tests.workers.events import event
from tests.workers.identities.test_resolving import balance, named, of_user, say, send, stored
from workers.buffer.lanes import LIVE
from workers.identities.moving import merge_known
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection

A, B, C = "a@example.com", "b@example.com", "c@example.com"
DAYS = [f"2026-01-{day:02}T10:00:00Z" for day in range(1, 10)]


def act(process: Process, **events: str) -> None:
    """An event of each user id or address, at this time."""
    sent = [of_user(name, timestamp=at) for name, at in events.items()]
    send(process, *sent)
    drain(process, LIVE)


def find_identities(connection: Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT user_id, email FROM identities WHERE user_id IS NOT NULL").fetchall())


def test_two_users_who_swap_their_addresses_have_them(process: Process, connection: Connection) -> None:
    """Both have a history: nothing is moved, and what comes later goes where each is now."""
    say(process, named(A, "u1", timestamp=DAYS[0]), named(B, "u2", timestamp=DAYS[0]))
    act(process, u1=DAYS[0], u2=DAYS[1])
    say(process, named(B, "u1", timestamp="2026-02-01"), named(A, "u2", timestamp="2026-02-01"))
    assert find_identities(connection) == {"u1": B, "u2": A}
    assert stored(connection) == [(A, 1), (B, 1)]
    act(process, u1=DAYS[2])
    assert stored(connection) == [(A, 1), (B, 2)]
    send(process, event(customer_email=A, timestamp=DAYS[3]), event(customer_email=B, timestamp=DAYS[3]))
    drain(process, LIVE)
    assert stored(connection) == [(A, 2), (B, 3)]
    assert "unaccounted" not in balance(process.redis)


def test_two_users_without_events_swap_their_addresses(process: Process, connection: Connection) -> None:
    say(process, named(A, "u1", timestamp=DAYS[0]), named(B, "u2", timestamp=DAYS[0]))
    say(process, named(B, "u1", timestamp="2026-02-01"), named(A, "u2", timestamp="2026-02-01"))
    act(process, u1=DAYS[0])
    assert find_identities(connection) == {"u1": B, "u2": A}
    assert stored(connection) == [(B, 1)]


def test_an_address_that_is_passed_on_goes_with_its_history(process: Process, connection: Connection) -> None:
    """Jane moves from a to b, then Joe takes a: each of them is one customer."""
    say(process, named(A, "jane"))
    act(process, jane=DAYS[0])
    say(process, named(B, "jane"))
    assert stored(connection) == [(B, 1)]
    say(process, named(A, "joe"))
    act(process, joe=DAYS[1], jane=DAYS[2])
    assert sum(n for _, n in stored(connection)) == 3
    assert find_identities(connection)["jane"] == B
    assert "unaccounted" not in balance(process.redis)


@pytest.mark.parametrize("emails", list(itertools.permutations([A, B, C])))
def test_a_chain_of_addresses_in_one_request_ends_at_the_latest(
    process: Process, connection: Connection, emails: tuple[str, ...]
) -> None:
    say(process, named("first@example.com", timestamp=DAYS[0]))
    act(process, **{"user-1": DAYS[0]})
    times: dict[str, Any] = {email: f"2026-02-0{number}" for number, email in enumerate((A, B, C), 1)}
    say(process, *(named(email, timestamp=times[email]) for email in emails))
    assert stored(connection) == [(C, 1)]
    send(process, event(customer_email="first@example.com", timestamp=DAYS[1]))
    drain(process, LIVE)
    assert stored(connection) == [(C, 2)]


@pytest.mark.parametrize(
    ("merges", "left"),
    [
        ([(A, B), (B, A)], A),
        ([(A, B), (B, A), (A, B)], B),
        ([(A, B), (B, C), (C, A)], A),
        ([(A, B), (C, B), (B, A), (A, C)], C),
    ],
)
def test_merges_in_a_circle_leave_one_customer(
    process: Process, connection: Connection, merges: list[tuple[str, str]], left: str
) -> None:
    people = (A, B, C) if any(C in merge for merge in merges) else (A, B)
    send(process, *(event(customer_email=email, timestamp=at) for email, at in zip(people, DAYS, strict=False)))
    drain(process, LIVE)
    for source, into in merges:
        assert merge_known(connection, 1, source, into) is not None
    assert stored(connection) == [(left, len(people))]
    send(process, *(event(customer_email=email, timestamp=DAYS[8], event=f"from {email}") for email in people))
    drain(process, LIVE)
    assert stored(connection) == [(left, 2 * len(people))]
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchone() == (2 * len(people),)
    assert "unaccounted" not in balance(process.redis)


def test_a_user_id_that_is_an_address_is_still_an_id(process: Process, connection: Connection) -> None:
    say(process, named(B, user_id=A))
    act(process, **{A: DAYS[0]})
    send(process, event(customer_email=A, timestamp=DAYS[1]))
    drain(process, LIVE)
    assert stored(connection) == [(A, 1), (B, 1)]


def test_a_number_as_text_and_with_zeros_are_two_ids(process: Process, connection: Connection) -> None:
    say(process, named(A, "42"), named(B, "042"))
    act(process, **{"42": DAYS[0], "042": DAYS[1]})
    assert stored(connection) == [(A, 1), (B, 1)]


def test_traits_that_are_said_before_the_address_come_with_it(process: Process, connection: Connection) -> None:
    say(process, {"user_id": "u1", "traits": {"plan": "pro"}})
    act(process, u1=DAYS[0])
    assert stored(connection) == []
    say(process, named(A, "u1", traits={"company": "Example Ltd"}))
    assert stored(connection) == [(A, 1)]
    ((traits,),) = connection.execute("SELECT traits FROM profiles").fetchall()
    assert traits == {"plan": "pro", "company": "Example Ltd"}
