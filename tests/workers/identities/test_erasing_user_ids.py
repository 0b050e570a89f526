"""Erasing customers who have user ids: whatever waits for an address goes, too."""

import time
from typing import Any

import pytest

from tests.workers.events import count, event
from tests.workers.identities.test_resolving import JANE, NEW, USER, balance, named, of_user, say, send, stored
from workers.buffer.entries import hash_customer, hash_user
from workers.buffer.lanes import LIVE
from workers.buffer.stream import last_positions
from workers.identities import ledger_moves, resolution
from workers.ingest import ingest
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection, connect, sql
from workers.store.locks import Lock, share
from workers.upkeep.erasure import erase, erase_user


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)


@pytest.mark.parametrize("email", [JANE, NEW])
def test_an_erased_customer_is_nowhere_and_what_was_sent_before_stays_away(
    process: Process, connection: Connection, email: str
) -> None:
    """By whichever address; user ids, traits and events that wait go as well."""
    before_us = time.time_ns() // 1000
    send(process, of_user(), identities=[named(traits={"name": "Jane"})])
    drain(process, LIVE)
    say(process, named(NEW))
    erase(connection, 1, email)
    tables = connection.execute("""
        SELECT table_name FROM information_schema.columns
        WHERE column_name = 'customer_id' AND table_schema = 'public' AND table_name <> 'erasures'
    """).fetchall()
    for (table,) in tables:
        assert count(connection, table) == 0, table
    send(process, of_user(), event(), event(customer_email=NEW), identities=[named(), named(NEW)], at_us=before_us)
    drain(process, LIVE)
    for (table,) in tables:
        assert count(connection, table) == 0, table
    assert balance(process.redis) == {"accepted": 4, "stored": 1, "erased": 3}
    send(process, of_user(), identities=[named()])
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 1)]


def test_events_that_wait_are_erased_with_their_customer(process: Process, connection: Connection) -> None:
    send(process, identities=[named()])
    drain(process, LIVE)
    connection.execute("UPDATE identities SET has_waiting = false")
    send(process, of_user("user-2"))
    drain(process, LIVE)
    with connect(process.settings.database_url or "") as other:
        other.execute(
            """
            WITH waiting AS MATERIALIZED (
                SELECT customer_id, (SELECT owner FROM identities LIMIT 1) AS owner FROM unresolved_events
            )
            INSERT INTO identities (customer_id, account_id, user_id, owner, email, said_at)
            SELECT customer_id, 1, 'user-2', owner, %s, now() FROM waiting
        """,
            [JANE],
        )
    assert erase(connection, 1, JANE).events == 1
    ledger_moves.apply_moves(connection, process.redis)
    assert balance(process.redis) == {"accepted": 1, "erased": 1}


@pytest.mark.parametrize("apart", [True, False], ids=["one after the other", "in one batch"])
@pytest.mark.parametrize("first", [True, False], ids=["named before", "named after"])
def test_a_user_id_whose_name_waited_in_the_buffer_is_erased_with_its_customer(
    process: Process, connection: Connection, first: bool, apart: bool
) -> None:
    """Its name comes too late to be stored, and its events would wait for it in vain."""
    requests: list[dict[str, Any]] = [
        {"identities": [named(traits={"name": "Jane"})]},
        {"events": [of_user(), event()]},
    ]
    for request in requests if first else reversed(requests):
        send(process, *request.get("events", ()), identities=request.get("identities", ()))
    positions = last_positions(process.redis)
    if apart:
        process.settings = process.settings.changed(batch_events=1)
    assert erase(connection, 1, JANE, positions).events == 0
    drain(process, LIVE)
    ledger_moves.apply_moves(connection, process.redis)
    for table in ("customers", "events", "identities", "profiles", "unresolved_events"):
        assert count(connection, table) == 0, table
    assert balance(process.redis) == {"accepted": 2, "erased": 2}
    send(process, of_user())
    drain(process, LIVE)
    assert balance(process.redis) == {"accepted": 3, "erased": 2, "unresolved": 1}
    say(process, named())
    assert stored(connection) == [(JANE, 1)]


def test_a_user_id_that_is_another_customers_is_not_erased_with_an_address_said_of_it(
    process: Process, connection: Connection
) -> None:
    say(process, named("joe@example.com"))
    send(process, of_user(), identities=[named(trusted=False)])
    erase(connection, 1, JANE, last_positions(process.redis))
    drain(process, LIVE)
    assert stored(connection) == [("joe@example.com", 1)]


def test_events_of_a_user_id_that_was_never_named_are_erased_by_it(process: Process, connection: Connection) -> None:
    send(process, of_user(), of_user("user-2"))
    drain(process, LIVE)
    assert erase_user(connection, 1, USER).events == 1
    ledger_moves.apply_moves(connection, process.redis)
    assert balance(process.redis) == {"accepted": 2, "erased": 1, "unresolved": 1}
    send(process, identities=[named("joe@example.com", "user-2")])
    drain(process, LIVE)
    assert stored(connection) == [("joe@example.com", 1)]
    erase_user(connection, 1, "user-2")
    assert stored(connection) == []


def test_a_user_id_that_is_erased_while_its_events_are_put_aside_leaves_none(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker finds the address that was said of it, and that it is erased, before these events wait for one."""
    send(process, of_user(), of_user(event_id="x"))
    erase(connection, 1, JANE, last_positions(process.redis))
    ids = {"user": hash_user(1, USER), "customer_id": hash_customer(1, JANE)}

    def share_late(storing: Connection, name: Lock) -> None:
        with connect(database_url) as other:
            other.execute(sql("erase_user_of"), ids)
        share(storing, name)

    monkeypatch.setattr(resolution, "share", share_late)
    drain(process, LIVE)
    assert count(connection, "unresolved_events") == 0
    assert balance(process.redis) == {"accepted": 2, "erased": 2}
