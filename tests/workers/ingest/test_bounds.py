"""The bounds of one customer's cost, and new customers in several workers at once."""

import threading
from typing import Any

import pytest
from redis import Redis

from tests.waiting import wait_until
from tests.workers.events import T0, count, event, ingested, request
from workers.buffer.entries import Entry
from workers.buffer.rows import make_rows
from workers.buffer.staging import StagedRows, stage
from workers.ingest import bounds
from workers.ingest.transaction import store_rows
from workers.process import Process
from workers.store import Connection, connect


@pytest.fixture(autouse=True)
def _few_details(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_DETAILS", 10)
    monkeypatch.setattr(bounds, "ASK_AT", 4)


def views(pages: range, **fields: Any) -> list[dict[str, Any]]:
    return [event(event="page_viewed", properties={"page": f"/orders/{n}"}, **fields) for n in pages]


def details(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT detail, n FROM customer_days").fetchall())


def test_details_beyond_the_bound_are_counted_together(process: Process, connection: Connection) -> None:
    ingested(process, *views(range(30)))
    kept = details(connection)
    assert (len(kept), kept[""], sum(kept.values())) == (11, 20, 30)
    ingested(process, *views(range(40)))
    again = details(connection)
    assert (len(again), again[""], sum(again.values())) == (11, 50, 70)
    assert all(again[detail] == 2 for detail in kept if detail)
    assert count(connection, "events") == 70


def test_the_bound_holds_over_batches_and_workers(process: Process, connection: Connection) -> None:
    """A worker that begins anew asks Postgres before it lets many pass."""
    for n in range(30):
        ingested(process, *views(range(n, n + 1)))
        if n == 12:
            process.disconnect()
    assert len(details(connection)) <= 10 + bounds.ASK_AT + 1
    assert sum(details(connection).values()) == 30


def test_each_day_name_and_customer_has_a_bound_of_its_own(process: Process, connection: Connection) -> None:
    ingested(process, *views(range(8), timestamp="2025-12-01"), *views(range(8), timestamp="2025-12-02"))
    ingested(process, *views(range(8), timestamp="2025-12-02", customer_email="joe@example.com"))
    assert connection.execute("SELECT count(*), sum(n) FROM customer_days WHERE detail <> ''").fetchone() == (24, 24)


def test_what_is_remembered_is_bounded(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "REMEMBERED_DAYS", 5)
    monkeypatch.setattr(bounds, "REMEMBERED_CUSTOMERS", 5)
    for n in range(30):
        ingested(process, *views(range(6), customer_email=f"c{n}@example.com"))
    memory = bounds.find_memory(process.connection())
    assert len(memory.details) <= 7
    assert len(memory.customers) <= 5
    assert count(connection, "customers") == 30


def staged(*emails: str) -> StagedRows:
    sent = request(*[event(customer_email=email, event_id=f"{n}") for n, email in enumerate(emails)], received_us=T0)
    return stage(make_rows(Entry(b"batch", [sent])))


def test_a_batch_that_waits_for_anothers_new_customers_holds_nothing(
    process: Process, connection: Connection, database_url: str, redis: Redis
) -> None:
    """So that the other can't come to wait for it: two imports of the same new customers meet in no circle."""
    ingested(process, event(customer_email="known@example.com"))
    with connect(database_url) as first, connect(database_url) as second:
        with first.transaction():
            store_rows(first, staged("new@example.com"), 5)
            other = threading.Thread(target=_store, args=(second, staged("known@example.com", "new@example.com")))
            other.start()
            wait_until(lambda: _waits(connection, second), timeout=60)
            connection.execute("SELECT FROM customers FOR UPDATE NOWAIT")
            connection.execute("SELECT FROM customer_days FOR UPDATE NOWAIT")
        other.join()
    assert count(connection, "customers") == 2
    assert count(connection, "events") == 4


def _store(connection: Connection, rows: StagedRows) -> None:
    with connection.transaction():
        store_rows(connection, rows, 5)


def _waits(connection: Connection, other: Connection) -> bool:
    waiting = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
    return connection.execute(waiting, [other.info.backend_pid]).fetchone() == ("Lock",)
