"""User ids and addresses: every event is stored once, whatever comes first, and the ledger adds up at any moment."""

import itertools
import threading
import time
from typing import Any

import msgspec
import pytest
from redis import Redis

from tests.workers.events import T0, count, event, push
from workers.buffer import ledger
from workers.buffer.entries import Entry, Request, hash_customer, hash_user
from workers.buffer.lanes import HISTORY, LANES, LIVE
from workers.identities import ledger_moves
from workers.ingest import ingest, resolving
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk.rescore import rescore_due
from workers.store import Connection, connect, sql
from workers.store.locks import Lock, share
from workers.upkeep.totals import tally

JANE, NEW = "jane@example.com", "jane@example.org"
USER = "user-1"


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)


def named(email: str | None = JANE, user_id: str | None = USER, **fields: Any) -> dict[str, Any]:
    return {"user_id": user_id, "customer_email": email, **fields}


def of_user(user_id: str = USER, **fields: Any) -> dict[str, Any]:
    sent = event(user_id=user_id, **fields)
    del sent["customer_email"]
    return sent


def send(process: Process, *events: dict[str, Any], identities: Any = (), lane: Any = LIVE, at_us: int = 0) -> None:
    """Write events and identities to the buffer as one request."""
    body = msgspec.json.encode({"events": list(events), "identities": list(identities)})
    received_us = at_us or time.time_ns() // 1000
    push(process.redis, Entry(b"%d" % time.time_ns(), [Request(1, received_us, body)]), lane=lane, events=len(events))


def say(process: Process, *identities: dict[str, Any], **fields: Any) -> None:
    send(process, identities=identities, **fields)
    drain(process, LIVE)


def balance(redis: Redis) -> dict[str, int]:
    pipeline = redis.pipeline()
    for lane in LANES.values():
        ledger.queue_read(pipeline, lane)
    ledgers = [ledger.parse(reply) for reply in pipeline.execute()]
    names = ("accepted", "stored", "duplicate", "erased", "unresolved", "buffered", "unaccounted")
    return {name: total for name in names if (total := sum(getattr(each, name) for each in ledgers))}


def stored(connection: Connection) -> list[tuple[str, int]]:
    rows = connection.execute(
        "SELECT email, count(*) FROM events JOIN customers USING (customer_id) GROUP BY email ORDER BY email"
    ).fetchall()
    return [(email, n) for email, n in rows]


def test_events_of_an_unknown_user_wait_and_are_stored_when_the_address_is_known(
    process: Process, connection: Connection
) -> None:
    send(process, of_user(), of_user(event_id="a"), event())
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 1)]
    assert balance(process.redis) == {"accepted": 3, "stored": 1, "unresolved": 2}
    say(process, named())
    assert stored(connection) == [(JANE, 3)]
    assert count(connection, "unresolved_events") == 0
    assert balance(process.redis) == {"accepted": 3, "stored": 3}


@pytest.mark.parametrize("known", [False, True])
def test_an_event_that_is_sent_again_while_it_waits_changes_no_span(
    process: Process, connection: Connection, known: bool
) -> None:
    """It waits twice, as it was received at another time; it is stored once, at the first, and was seen then alone."""
    if known:
        send(process, event(), at_us=T0 - 1)
    for received_us in (T0, T0 + 2_000):
        send(process, of_user(event_id="a"), at_us=received_us)
        drain(process, LIVE)
    say(process, named())
    send(process, of_user(event_id="a"), at_us=T0 + 4_000)
    drain(process, LIVE)
    say(process, named(NEW))
    rescore_due(process)
    assert stored(connection) == [(NEW, 2 if known else 1)]
    spans = "SELECT (extract(epoch FROM first_seen) * 1e6)::bigint, (extract(epoch FROM last_seen) * 1e6)::bigint"
    assert connection.execute(f"{spans} FROM customers").fetchall() == [(T0 - 1 if known else T0, T0)]


def parts() -> list[dict[str, Any]]:
    at = "2026-01-0{}T10:00:00Z"
    return [
        {"events": [of_user(timestamp=at.format(1)), of_user(event="feature_used", timestamp=at.format(2))]},
        {"events": [of_user(timestamp=at.format(1))]},  # again
        {"events": [of_user(event_id="a"), event(timestamp=at.format(3))]},
        {"identities": [named()]},
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_any_order_of_identify_and_track_stores_each_event_once(
    process: Process, connection: Connection, order: tuple[int, ...]
) -> None:
    sent = parts()
    for place in order:
        send(process, *sent[place].get("events", ()), identities=sent[place].get("identities", ()))
        drain(process, LIVE)
        assert "unaccounted" not in balance(process.redis)
    assert stored(connection) == [(JANE, 4)]
    assert balance(process.redis) == {"accepted": 5, "stored": 4, "duplicate": 1}
    days = connection.execute("SELECT sum(n) FROM customer_days").fetchone()
    assert days == (4,)


def test_one_request_may_hold_both(process: Process, connection: Connection) -> None:
    send(process, of_user(), identities=[named()])
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 1)]


def test_lanes_keep_their_own_ledgers(process: Process, connection: Connection) -> None:
    send(process, of_user(timestamp="2025-01-01"), lane=HISTORY)
    drain(process, HISTORY)
    say(process, named())
    pipeline = process.redis.pipeline()
    for lane in LANES.values():
        ledger.queue_read(pipeline, lane)
    found = [ledger.parse(reply) for reply in pipeline.execute()]
    assert [(each.stored, each.unresolved, each.unaccounted) for each in found] == [(0, 0, 0), (1, 0, 0)]


def test_an_address_that_is_said_while_events_are_put_aside_finds_them(
    process: Process, connection: Connection, database_url: str
) -> None:
    """The later transaction sees the work of the earlier one."""
    with connect(database_url) as slow, slow.transaction():
        share(slow, Lock.IDENTITIES)
        send(process, identities=[named()])
        storing = threading.Thread(target=drain, args=(process, LIVE))
        storing.start()
        slow.execute(
            """
            INSERT INTO unresolved_events (customer_id, occurred_at, event_key, account_id, user_id, event, received_at,
                                           identified, lane)
            SELECT %s, now(), 1, 1, %s, 'login', now(), false, 'live'
        """,
            [hash_user(1, USER), USER],
        )
        assert storing.is_alive()
    storing.join(20)
    assert stored(connection) == [(JANE, 1)]


def test_a_crash_between_storing_and_the_ledger_is_made_up_for_once(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(process, of_user(), of_user(event_id="x"))
    drain(process, LIVE)
    with monkeypatch.context() as patch:
        patch.setattr(ledger_moves, "apply_moves", lambda *_: None)
        say(process, named())
    assert balance(process.redis) == {"accepted": 2, "unresolved": 2}
    kept = connection.execute("SELECT move_id, lane, counts::text FROM ledger_moves").fetchall()
    ledger_moves.apply_moves(connection, process.redis)
    for move in kept:  # as if it had died before the rows were deleted
        connection.execute("INSERT INTO ledger_moves VALUES (%s, %s, %s)", move)
    ledger_moves.apply_moves(connection, process.redis)
    assert balance(process.redis) == {"accepted": 2, "stored": 2}
    assert count(connection, "ledger_moves") == 0


def test_events_wait_for_35_days(process: Process, connection: Connection) -> None:
    send(process, of_user(), of_user(event_id="x"))
    drain(process, LIVE)
    connection.execute("UPDATE unresolved_events SET received_at = now() - interval '36 days' WHERE identified")
    resolving.expire(process)
    ledger_moves.apply_moves(connection, process.redis)
    assert count(connection, "unresolved_events") == 1
    assert balance(process.redis) == {"accepted": 2, "unresolved": 1}


def test_another_address_moves_the_customer_with_all_history_once(process: Process, connection: Connection) -> None:
    send(process, of_user(event_id="a"), of_user(timestamp="2026-01-01"), identities=[named()])
    drain(process, LIVE)
    tally(connection)
    before = connection.execute("SELECT * FROM event_days").fetchall()
    for _ in range(2):
        say(process, named(NEW, traits={"plan": "pro"}))
        assert stored(connection) == [(NEW, 2)]
    old = hash_customer(1, JANE)
    tables = connection.execute("""
        SELECT table_name FROM information_schema.columns
        WHERE column_name = 'customer_id' AND table_schema = 'public' AND table_name <> 'identities'
    """).fetchall()
    for (table,) in tables:
        assert connection.execute(f"SELECT count(*) FROM {table} WHERE customer_id = %s", [old]).fetchone() == (0,)
    send(process, event(event_id="a"), event(event_id="b"), of_user(event_id="a"))
    drain(process, LIVE)  # what comes under the old address follows, and is the same event
    assert stored(connection) == [(NEW, 3)]
    assert balance(process.redis) == {"accepted": 5, "stored": 3, "duplicate": 2}
    tally(connection)
    assert connection.execute("SELECT sum(n) FROM event_days").fetchone() == (3,)
    assert before


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("track_first", [True, False])
def test_addresses_that_follow_each_other_are_one_person_in_one_batch_or_several(
    process: Process, connection: Connection, together: bool, track_first: bool
) -> None:
    """Events under the first address are the same person's, before and after."""
    if track_first:
        send(process, event(event_id="first"))
        drain(process, LIVE)
    for email in (JANE, NEW):
        send(process, of_user(event_id=email), identities=[named(email)])
        if not together:
            drain(process, LIVE)
    drain(process, LIVE)
    send(process, event(event_id="last"), of_user(event_id="user"))
    drain(process, LIVE)
    assert stored(connection) == [(NEW, 4 + track_first)]
    assert balance(process.redis) == {"accepted": 4 + track_first, "stored": 4 + track_first}


def test_there_and_back_again(process: Process, connection: Connection) -> None:
    send(process, of_user(), identities=[named()])
    drain(process, LIVE)
    for email in (NEW, JANE, NEW, JANE):
        say(process, named(email))
        assert stored(connection) == [(email, 1)]
    send(process, event(customer_email=NEW), event())
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 3)]


def test_the_latest_address_holds_in_whatever_order_they_come(process: Process, connection: Connection) -> None:
    send(process, of_user(), identities=[named(NEW, timestamp="2026-02-02")])
    drain(process, LIVE)
    say(process, named(JANE, timestamp="2026-02-01"))
    assert stored(connection) == [(NEW, 1)]


def test_an_event_follows_the_address_of_its_user_id_to_the_one_after_it(
    process: Process, connection: Connection
) -> None:
    """Between cells the history leaves first, then the user ids follow."""
    say(process, named())
    way = {"customer_id": hash_customer(1, JANE), "owner": hash_customer(1, NEW), "email": NEW, "account_id": 1}
    connection.execute(sql("give_up_address"), way)
    send(process, of_user(), event())
    drain(process, LIVE)
    assert stored(connection) == [(NEW, 2)]


def test_two_customers_with_events_are_not_merged_by_a_new_address(process: Process, connection: Connection) -> None:
    send(process, of_user(), event(customer_email=NEW), identities=[named()])
    drain(process, LIVE)
    say(process, named(NEW))
    assert stored(connection) == [(JANE, 1), (NEW, 1)]
    send(process, of_user())
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 1), (NEW, 2)]


def test_an_address_said_by_a_publishable_key_moves_nobody(process: Process, connection: Connection) -> None:
    send(process, of_user(), identities=[named(trusted=False)])
    drain(process, LIVE)
    say(process, named("mallory@example.com", trusted=False))
    assert stored(connection) == [(JANE, 1)]


def test_an_identity_that_postgres_refuses_is_buried_and_the_rest_is_stored(
    process: Process, connection: Connection
) -> None:
    send(process, event(), identities=[named(traits={"a": "\0"}), named("b@example.com", "user-2")])
    drain(process, LIVE)
    assert stored(connection) == [(JANE, 1)]
    assert count(connection, "dead_letters") == 1
    assert connection.execute("SELECT user_id FROM identities").fetchall() == [("user-2",)]
    assert balance(process.redis) == {"accepted": 1, "stored": 1}
