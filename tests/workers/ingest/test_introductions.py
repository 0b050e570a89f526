"""An import inserts new customers in transactions of their own, so that no live event of theirs waits for its batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.workers.events import count, event, ingested, push_events
from workers.buffer.entries import hash_customer
from workers.buffer.lanes import HISTORY
from workers.ingest import insertion
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.risk.rescore import rescore_due
from workers.store import Connection, connect
from workers.upkeep import erasure

EMAILS = [f"person-{number}@example.com" for number in range(12)]
OLD = "2025-11-01"


@pytest.fixture
def live(process: Process) -> Iterator[Process]:
    """The process of the other lane. It waits for no lock."""
    other = Process(process.settings, process.redis)
    other.connection().execute("SET lock_timeout = '500ms'")
    yield other
    other.disconnect()


@contextmanager
def changed(process: Process) -> Iterator[None]:
    """Another transaction changes every customer, as an import of scored ones does."""
    with connect(process.settings.database_url or "") as other, other.transaction():
        other.execute("UPDATE customers SET rescore_at = now()")
        yield


def test_a_live_event_does_not_wait_for_the_import_of_its_customer(
    process: Process, live: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insertion, "MOST_INTRODUCED", 5)
    insert, outcomes = insertion.insert_all, []

    def insert_meanwhile(*arguments: object) -> None:
        insert(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(insertion, "insert_all", insert)
        outcomes.append(ingested(live, *(event(customer_email=email) for email in EMAILS)))

    monkeypatch.setattr(insertion, "insert_all", insert_meanwhile)
    imported = ingested(process, *(event(customer_email=email, timestamp=OLD) for email in EMAILS), lane=HISTORY)
    assert (imported, outcomes) == (Outcome(stored=12), [Outcome(stored=12)])
    assert count(connection, "customers") == count(connection, "customer_search") == 12
    assert rescore_due(process) == 12


def test_a_live_event_does_not_wait_for_changes_of_a_customer_that_its_worker_does_not_know(
    process: Process, live: Process, connection: Connection
) -> None:
    ingested(process, event(timestamp=OLD), lane=HISTORY)
    with changed(process):
        assert ingested(live, event()) == Outcome(stored=1)
    assert count(connection, "events") == 2


def test_who_was_erased_is_not_introduced_again(process: Process, connection: Connection) -> None:
    """Nor is the customer of an event that came before the erasure, beside another who is new."""
    gone, new = EMAILS[:2]
    push_events(process.redis, event(customer_email=gone, timestamp=OLD), event(customer_email=new), lane=HISTORY)
    erasure.erase(connection, 1, gone)
    assert drain(process, HISTORY) == Outcome(stored=1, erased=1)
    rows = connection.execute("SELECT customer_id::text FROM customers").fetchall()
    assert [row[0].replace("-", "") for row in rows] == [hash_customer(1, new).replace("-", "")]


def test_a_batch_that_fails_after_the_introduction_is_stored_at_the_next_try(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = insertion.insert_all

    def fail(*arguments: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(insertion, "insert_all", fail)
    push_events(process.redis, event(timestamp=OLD), event(customer_email=EMAILS[0], timestamp=OLD), lane=HISTORY)
    with pytest.raises(RuntimeError, match="killed"):
        drain(process, HISTORY)
    assert (count(connection, "customers"), count(connection, "events")) == (2, 0)
    monkeypatch.setattr(insertion, "insert_all", insert)
    assert rescore_due(process) == 2  # they have no history yet, and must not end the worker
    again = Process(process.settings, process.redis)
    again.name = process.name
    assert drain(again, HISTORY) == Outcome(stored=2)
    again.disconnect()
    soon = "SELECT count(*) FROM customers WHERE rescore_at < now() + interval '1 minute'"
    assert connection.execute(soon).fetchone() == (2,), "scored again once their history is there"
