"""Counting everything anew: in parts, and with the same result."""

import random
from collections.abc import Callable

import pytest

from tests.workers.events import event
from tests.workers.upkeep.counting import assert_right, count_anew, levels, levels_by_risks, some_events, store
from workers.process import Process
from workers.risk import rescore
from workers.risk.rebuild import rebuild_batch
from workers.store import Connection, connect, only_row
from workers.store.locks import Lock, holding
from workers.upkeep import erased_totals, erasure, recount, totals


def test_a_recount_gives_the_same(process: Process, connection: Connection) -> None:
    store(process, *some_events(random.Random(1), 60))
    rescore.drain(process)
    rebuild_batch(process)
    assert levels(connection) == levels_by_risks(connection)
    count_anew(connection)
    assert_right(connection)
    assert levels(connection) == levels_by_risks(connection) != []


def test_a_restored_database_is_counted_anew(process: Process, connection: Connection) -> None:
    """Its transactions may have lower numbers than those that stored its events."""
    store(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    connection.execute("UPDATE events SET stored_by = 1000000000")
    connection.execute("UPDATE tallied SET snapshot = '1000000001:1000000001:'")
    connection.execute("UPDATE event_days SET n = 100")
    store(process, event(timestamp="2025-12-02"))
    totals.tally(connection)
    assert_right(connection)
    store(process, event(timestamp="2025-12-03"))
    totals.tally(connection)
    assert_right(connection)


def test_a_database_that_was_moved_is_counted_anew(process: Process, connection: Connection) -> None:
    """The first rows that this server stores have numbers that the last tally has seen on the other one."""
    store(process, event(timestamp="2025-12-01"))
    totals.tally(connection)
    (number,) = only_row(connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))
    moved = "UPDATE tallied SET snapshot = %s, server = 1"
    connection.execute(moved, [f"{number + 20}:{number + 20}:"])
    store(process, event(timestamp="2025-12-02"))
    for _ in range(20):
        connection.execute("SELECT pg_current_xact_id()")
    totals.tally(connection)
    assert_right(connection)
    assert only_row(connection.execute("SELECT server > 1 FROM tallied")) == (True,)


def test_a_recount_that_another_server_began_begins_anew(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "FIRST_PART", 1)
    monkeypatch.setattr(recount, "MOST_IN_PART", 1)
    store(process, *some_events(random.Random(1), 40))
    assert not advance(database_url)
    connection.execute("UPDATE recounts SET server = 1, after = %s", [recount.LAST])
    totals.tally(connection)
    assert_right(connection)


@pytest.mark.parametrize("seed", range(6))
def test_a_recount_in_parts_is_exact_whatever_happens_meanwhile(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Of one customer at a time, between which events are stored, customers erased, and the database restored again."""
    monkeypatch.setattr(recount, "FIRST_PART", 1)
    monkeypatch.setattr(recount, "MOST_IN_PART", 1)
    chance = random.Random(seed)
    store(process, *some_events(chance, 80))
    totals.tally(connection)
    restore(connection, 1_000_000_000)
    parts = 0
    while not advance(database_url):
        parts += 1
        store(process, *some_events(chance, chance.choice([0, 1, 10])))
        if chance.random() < 0.4:
            erasure.erase(connection, 1, f"c{chance.randrange(6)}@example.com")
        if parts == 3 and seed % 2:
            restore(connection, 2_000_000_000)
    assert parts >= 4
    assert erased_totals.is_due(connection) is False or totals.tally(connection)
    totals.tally(connection)
    assert_right(connection)


def restore(connection: Connection, number: int) -> None:
    """The state of a dump in a server that has carried out fewer transactions."""
    connection.execute("UPDATE events SET stored_by = %s", [number])
    for table in ("tallied", "recounts"):
        connection.execute(f"UPDATE {table} SET snapshot = '{number + 1}:{number + 1}:'")


def advance(database_url: str) -> bool:
    """A part, by a process that ends then."""
    with connect(database_url) as other, holding(other, Lock.TOTALS):
        return recount.advance(other, 0)


def test_our_own_numbers_never_meet_those_of_the_other_server(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours pass them while the recount is under way: what is stored then is counted once, by the tally after it."""
    monkeypatch.setattr(recount, "FIRST_PART", 1)
    monkeypatch.setattr(recount, "MOST_IN_PART", 1)
    monkeypatch.setattr(recount, "AHEAD", 50)
    store(process, *some_events(random.Random(2), 40))
    totals.tally(connection)
    (number,) = only_row(connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))
    connection.execute("UPDATE events SET stored_by = %s + 20 + abs(event_key %% 300)", [number])
    connection.execute("UPDATE tallied SET snapshot = %s", [f"{number + 400}:{number + 400}:"])
    while not advance(database_url):
        store(process, *some_events(random.Random(3), 2))
        for _ in range(20):
            connection.execute("SELECT pg_current_xact_id()")
    totals.tally(connection)
    assert_right(connection)


def test_a_recount_reads_each_row_once_whatever_the_statistics_say(connection: Connection) -> None:
    """500 customers and 100 days in tables that nobody has analyzed: what is read grows with the rows alone."""
    fill_days(connection, 500, 100)
    rows_read = read_by(connection, lambda: totals.tally(connection))
    assert rows_read < 10 * 50_000
    assert_counted(connection, 500, 100)


def fill_days(connection: Connection, customers: int, days: int) -> None:
    connection.execute("ALTER TABLE events SET (autovacuum_enabled = off)")
    connection.execute("ALTER TABLE customer_days SET (autovacuum_enabled = off)")
    parameters = {"customers": customers, "days": days}
    connection.execute(
        """INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
        SELECT md5(n::text)::uuid, 1, 'c' || n, now(), now(), now() FROM generate_series(1, %(customers)s) AS n""",
        parameters,
    )
    connection.execute(
        """INSERT INTO events (customer_id, occurred_at, event_key, event, received_at)
        SELECT customer_id, at, 1, 'login', at FROM customers,
        generate_series(now() - %(days)s * interval '1 day', now() - interval '1 day', interval '1 day') AS at""",
        parameters,
    )
    connection.execute(
        """INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
        SELECT customer_id, (occurred_at AT TIME ZONE 'UTC')::date, event, '', 1, 0, occurred_at FROM events"""
    )


def read_by(connection: Connection, work: Callable[[], object]) -> int:
    """The number of rows of events and daily counts that were read, by sequence or by index."""
    query = """SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables
               WHERE relname IN ('events', 'customer_days')"""
    (before,) = only_row(connection.execute(query))
    work()
    connection.execute("SELECT pg_stat_force_next_flush()")
    (after,) = only_row(connection.execute(query))
    return int(after - before)


def assert_counted(connection: Connection, customers: int, days: int) -> None:
    counted = only_row(connection.execute("SELECT sum(n), count(*), max(n) FROM event_days"))
    assert counted == (customers * days, days, customers)
    assert only_row(connection.execute("SELECT sum(customers) FROM event_returns WHERE previous = '-infinity'")) == (
        customers,
    )
    assert only_row(connection.execute("SELECT sum(n), sum(customers) FROM event_hours")) == (customers * days,) * 2


def test_a_process_that_stops_leaves_the_recount_to_the_next_one(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on after the last customer that was counted, and every customer is counted once."""
    monkeypatch.setattr(recount, "FIRST_PART", 1)
    monkeypatch.setattr(recount, "MOST_IN_PART", 1)
    store(process, *some_events(random.Random(1), 60))
    with holding(connection, Lock.TOTALS):
        assert not recount.advance(connection, 60, stop=lambda: True)
    state = recount.read_state(connection)
    assert state
    assert state.after > recount.FIRST
    totals.drain(process)
    assert_right(connection)
