import threading
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from redis import Redis

from scoring.levels import LevelBounds
from tests.waiting import wait_until
from tests.workers.events import count, entry, event, ingested, push, push_events, request
from workers.accounts import renewals
from workers.buffer import ledger
from workers.buffer.entries import encode_entry, hash_customer, hash_user
from workers.buffer.lanes import HISTORY, LANES, LIVE, Lane
from workers.buffer.stream import Reader, last_positions, position_of
from workers.ingest import dead_letters
from workers.ingest.batches import decode_batch
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome, store_batch
from workers.process import Process
from workers.risk import renewal
from workers.risk.rebuild import list_mondays, rebuild_batch
from workers.risk.renewal_state import Means
from workers.risk.rescore import rescore_due
from workers.store import Connection, connect
from workers.upkeep import erasure
from workers.upkeep.erasure import erase
from workers.upkeep.retention import prune_events
from workers.upkeep.totals import tally

JANE = "jane@example.com"
POISON = event(event="poison", properties={"a": "\0"})


def tables_of_customers(connection: Connection) -> list[str]:
    """Every table that says something of a customer, whichever there are."""
    rows = connection.execute(
        """SELECT table_name FROM information_schema.columns
        WHERE column_name = 'customer_id' AND table_schema = current_schema() AND table_name <> 'erasures'"""
    )
    return [name for (name,) in rows]


def unaccounted(redis: Redis) -> int:
    pipeline = redis.pipeline()
    for lane in LANES.values():
        ledger.queue_read(pipeline, lane)
    return sum(ledger.parse(reply).unaccounted for reply in pipeline.execute())


def identify(connection: Connection) -> None:
    """Jane has a user id, traits, and an event that waits to be stored."""
    user, jane = hash_user(1, "user-jane"), hash_customer(1, JANE)
    connection.execute(
        """INSERT INTO identities (customer_id, account_id, user_id, owner, email, said_at)
        VALUES (%s, 1, 'user-jane', %s, %s, now())""",
        [user, jane, JANE],
    )
    connection.execute(
        """INSERT INTO unresolved_events (customer_id, occurred_at, event_key, account_id, user_id, event, received_at,
                                          identified)
        VALUES (%s, now(), 1, 1, 'user-jane', 'login', now(), false)""",
        [user],
    )
    connection.execute("INSERT INTO profiles VALUES (%s, 1, '{}', '{}')", [jane])


def score_ahead(connection: Connection) -> None:
    """The first slice of a change of rules."""
    connection.execute("INSERT INTO accounts (account_id, name) VALUES (1, 'acme') ON CONFLICT DO NOTHING")
    connection.execute("UPDATE accounts SET generation = generation + 1")
    renewals.request_rescore(connection, 1)
    assert renewal.step(connection, Means(LevelBounds()))


def act(connection: Connection) -> None:
    """Alert about Jane, and note something of her."""
    ids = {"customer_id": hash_customer(1, JANE), "alert_id": "5e2b3c1a-90ab-4cde-8f01-23456789abcd"}
    for query in (
        """
        INSERT INTO alerts
        VALUES (%(customer_id)s, %(alert_id)s, 1, now(), 'low', 'high', 0.6, 30, '[]', '{}', false)
        """,
        """
        INSERT INTO deliveries (customer_id, alert_id, webhook_id, at)
        VALUES (%(customer_id)s, %(alert_id)s, %(alert_id)s, now())
        """,
        "INSERT INTO handlings (customer_id, account_id, what) VALUES (%(customer_id)s, 1, 'noted')",
    ):
        connection.execute(query, ids)


def track(connection: Connection) -> None:
    """Jane left once, and was flagged before."""
    jane = hash_customer(1, JANE)
    connection.execute("INSERT INTO departures VALUES (%s, now(), 1, true, '{0.5}')", [jane])
    connection.execute("INSERT INTO flags VALUES (%s, now(), 1, 0.5, true)", [jane])


def arrive(connection: Connection) -> None:
    """Jane has a day of pruned events from a merge."""
    day = (
        "INSERT INTO arriving (customer_id, event, day, n, last_at) VALUES (%s, 'login', '2025-12-01', 1, '2025-12-01')"
    )
    connection.execute(day, [hash_customer(1, JANE)])


def keep_days(connection: Connection) -> None:
    """Jane's earlier days are kept for the next score."""
    connection.execute(
        """
        INSERT INTO earlier_days (customer_id, until, oldest, scope, rows, words)
        VALUES (%s, now(), now(), '', '', '')
        """,
        [hash_customer(1, JANE)],
    )


def test_nothing_of_the_customer_stays_but_a_receipt(process: Process, connection: Connection) -> None:
    """In no table, whatever they are; and nothing of anybody else goes."""
    ingested(process, event(), event(event_id="a"), POISON)
    rescore_due(process)
    ingested(process, event(timestamp="2025-12-01"))
    rebuild_batch(process)
    tally(connection)
    prune_events(connection, [hash_customer(1, JANE)], datetime(2025, 12, 2, tzinfo=UTC))
    with connect(process.settings.database_url or "") as other, other.transaction():
        other.execute("SELECT FROM customers FOR UPDATE")
        ingested(process, event(timestamp="2025-12-01"), event(timestamp="2025-12-02"))
    identify(connection)
    score_ahead(connection)
    act(connection)
    track(connection)
    arrive(connection)
    keep_days(connection)
    noted = {"erasing", "leaving"}  # while it goes on
    noted |= {"relocations", "relocated_rows"}  # on the way to another cell, see tests/cells/test_chains.py
    assert all(count(connection, table) for table in tables_of_customers(connection) if table not in noted)
    ingested(process, event(customer_email="joe@example.com"))
    receipt = erase(connection, 1, " Jane@Example.com ")
    tally(connection)
    assert receipt[2:] == (
        4,
        1,
        3,
        1 + len(list_mondays(datetime(2025, 12, 1, tzinfo=UTC).timestamp(), time.time())),
        1,
    )
    left = {table: count(connection, table) for table in tables_of_customers(connection)}
    assert {table for table, rows in left.items() if rows} == {
        "customers",
        "customer_search",
        "events",
        "customer_days",
        "recent_events",
    }
    assert connection.execute("SELECT email FROM customers").fetchall() == [("joe@example.com",)]
    receipts = connection.execute("SELECT erasures::text FROM erasures").fetchall()
    assert len(receipts) == 2  # of the address and of the user id
    assert "jane" not in str(receipts)


def test_what_is_in_the_buffer_is_dropped_and_what_comes_afterwards_is_a_new_history(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """The ledger accounts for it; a bad event of the customer's does not become a dead letter."""
    push_events(redis, event(timestamp="2025-12-01"), event(customer_email="joe@example.com"), POISON)
    erase(connection, 1, JANE)
    push_events(redis, event(timestamp="2025-12-01"))
    assert drain(process, LIVE) == Outcome(stored=2, erased=2)
    assert (count(connection, "dead_letters"), unaccounted(redis)) == (0, 0)
    assert redis.hget("windback:outcomes:live", "erased") == b"2"
    assert connection.execute("SELECT email FROM customers ORDER BY email").fetchall() == [
        (JANE,),
        ("joe@example.com",),
    ]


def test_another_accounts_customer_of_the_same_address_stays(process: Process, connection: Connection) -> None:
    ingested(process, event())
    erase(connection, 2, JANE)
    assert count(connection, "customers") == 1


def test_erasing_again_or_a_stranger_changes_nothing(process: Process, connection: Connection) -> None:
    ingested(process, event())
    first, second = erase(connection, 1, JANE), erase(connection, 1, JANE)
    assert (first.events, second.events, erase(connection, 1, "nobody@example.com").events) == (1, 0, 0)
    assert second.erased_at > first.erased_at
    assert count(connection, "erasures") == 3


def test_a_long_history_goes_in_steps(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CHUNK", 3)
    ingested(process, *[event(event_id=str(n)) for n in range(8)])
    receipt = erase(connection, 1, JANE)
    assert (receipt.events, receipt.event_ids, count(connection, "events")) == (8, 8, 0)
    assert count(connection, "erasing") == 0


def test_an_event_id_may_come_again(process: Process, connection: Connection) -> None:
    ingested(process, event(event_id="a"))
    erase(connection, 1, JANE)
    assert ingested(process, event(event_id="a")).stored == 1


def test_an_undecodable_letter_that_is_replayed_later_stays_erased(
    process: Process, connection: Connection, redis: Redis
) -> None:
    push(redis, b"\xc1garbage")
    drain(process, LIVE)
    erase(connection, 1, JANE)
    connection.execute("UPDATE dead_letters SET body = %s", [encode_entry(entry(request(event())))])
    (replayed,) = dead_letters.replay(connection, dead_letters.list_ids(connection, []), 5)
    assert (replayed.letters, replayed.outcome) == (1, Outcome(erased=1))
    assert (count(connection, "events"), count(connection, "dead_letters")) == (0, 0)


def test_an_erasure_waits_for_who_is_storing_and_who_stores_later_sees_it(
    process: Process, connection: Connection, redis: Redis, database_url: str
) -> None:
    """Neither the transaction before nor the one after slips through."""
    push_events(redis, event(timestamp="2025-12-01"))
    reader = Reader(redis, LIVE, "reader")
    reader.read_left_over(60, 1000)
    batch = reader.read(events=10, wait_seconds=0.01)
    push_events(redis, event(timestamp="2025-12-02"), lane=HISTORY)
    erasing = threading.Thread(target=_erase, args=(database_url,))
    with process.connection().transaction():
        store_batch(process.connection(), LIVE, decode_batch(batch), 5)
        erasing.start()
        wait_until(lambda: waits_for_a_lock(connection))
    erasing.join()
    assert drain(process, HISTORY) == Outcome(erased=1)
    assert all(count(connection, table) == 0 for table in tables_of_customers(connection))


def test_erasing_while_many_workers_store_leaves_nothing_from_before_and_loses_nothing_after(
    process: Process, connection: Connection, redis: Redis, database_url: str
) -> None:
    for turn in range(60):
        push_events(redis, event(), event(event_id=str(turn)), event(customer_email="joe@example.com"))
    small = msgspec.structs.replace(process.settings, batch_events=9)
    workers = [Process(small, redis) for _ in range(4)]
    threads = [threading.Thread(target=drain, args=(worker, LIVE)) for worker in workers]
    threads.append(threading.Thread(target=_erase, args=(database_url, 5)))
    for thread in threads:
        thread.start()
    for turn in range(60):
        push_events(redis, event(event_id=str(turn)), event(event=f"late {time.time_ns()}"))
    for thread in threads:
        thread.join()
    drain(process, LIVE)
    for worker in workers:
        worker.disconnect()
    kept = connection.execute(
        """SELECT count(*), count(*) FILTER (WHERE received_at <= (SELECT max(erased_at) FROM erasures))
        FROM events JOIN customers USING (customer_id) WHERE email = %s""",
        [JANE],
    ).fetchone()
    assert kept
    assert kept[1] == 0
    recount = "SELECT coalesce(sum(n), 0) FROM customer_days JOIN customers USING (customer_id) WHERE email = %s"
    assert connection.execute(recount, [JANE]).fetchone() == (kept[0],)
    assert connection.execute(recount, ["joe@example.com"]).fetchone() == (60,)
    assert (unaccounted(redis), redis.xlen(LIVE.stream)) == (0, 0)


def test_a_score_that_is_being_written_does_not_outlive_its_customer(
    process: Process, connection: Connection, database_url: str
) -> None:
    ingested(process, event())
    erasing = threading.Thread(target=_erase, args=(database_url,))
    with process.connection().transaction():
        rescore_due(process)
        erasing.start()
        wait_until(lambda: waits_for_a_lock(connection))
    erasing.join()
    assert (count(connection, "risk_history"), count(connection, "customers")) == (0, 0)


def _erase(database_url: str, times: int = 1) -> None:
    with connect(database_url) as connection:
        for _ in range(times):
            erase(connection, 1, JANE)


def waits_for_a_lock(connection: Connection) -> bool:
    row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize("lane", [LIVE, HISTORY], ids=["live", "history"])
@pytest.mark.parametrize("hours", [-1, 24], ids=["web behind", "web ahead"])
def test_an_erasure_goes_by_the_buffers_order_and_by_no_clock(
    process: Process, connection: Connection, lane: Lane, hours: int
) -> None:
    """Entries in the buffer go, later ones stay, however wrong the web process's clock is."""
    sent_us = int((time.time() + hours * 3600) * 1_000_000)
    push_events(process.redis, event(), event(customer_email="joe@example.com"), lane=lane, received_us=sent_us)
    erase(connection, 1, JANE, last_positions(process.redis))
    assert drain(process, lane) == Outcome(stored=1, erased=1)
    push_events(process.redis, event(), lane=lane, received_us=sent_us + 1)
    assert drain(process, lane) == Outcome(stored=1)


def test_an_erasure_without_a_buffer_goes_by_the_time(process: Process, connection: Connection) -> None:
    """Redis was away when it happened: what was received before it is dropped."""
    push_events(process.redis, event())
    erase(connection, 1, JANE)
    push_events(process.redis, event(event="feature_used"))
    assert drain(process, LIVE) == Outcome(stored=1, erased=1)


def test_places_of_the_buffer_rise_whatever_redis_clock_does(redis: Redis) -> None:
    ids = [b"1795657157468-0", b"1795657157468-1", b"1795657157468-999999", b"1795657157469-0", b"1795657158000-0"]
    places = [position_of(id_) for id_ in ids]
    assert places == sorted(set(places))
    assert last_positions(redis) == {"live": 0, "history": 0}
    push_events(redis, event())
    newest: Any = redis.xrevrange(LIVE.stream, count=1)
    assert last_positions(redis)["live"] == position_of(newest[0][0])
