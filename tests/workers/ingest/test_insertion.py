"""Batches of new events alone, and batches that hold some that are there: both say what was new."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.workers.events import count, event, ingested, push_events
from workers.buffer.lanes import LIVE
from workers.ingest import bounds, insertion
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.store import Connection

NEW = {"customer_email": "new@example.com"}


def at(minute: int, **fields: Any) -> dict[str, Any]:
    return event(timestamp=f"2025-12-01T10:{minute:02}:00Z", **fields)


def counts(connection: Connection) -> list[Any]:
    return connection.execute("SELECT event, detail, n, value, plan FROM customer_days ORDER BY 1, 2").fetchall()


def test_a_batch_with_events_that_are_there_stores_the_others(process: Process, connection: Connection) -> None:
    assert ingested(process, at(1), at(2)) == Outcome(stored=2)
    assert not insertion.is_wary(process.connection())
    assert ingested(process, at(2), at(3), at(4, **NEW), at(4, **NEW)) == Outcome(stored=2, duplicate=2)
    assert insertion.is_wary(process.connection())
    assert count(connection, "events") == 4
    assert sum(row[2] for row in counts(connection)) == 4
    assert count(connection, "customers") == 2


def test_after_a_batch_that_is_all_new_the_short_way_is_taken_again(process: Process) -> None:
    for expected, minute in ((False, 1), (True, 1), (True, 1), (False, 2), (False, 3)):
        ingested(process, at(minute))
        assert insertion.is_wary(process.connection()) is expected


def test_new_customers_of_an_attempt_that_failed_are_inserted_before_the_rest(
    process: Process, connection: Connection
) -> None:
    """Rolled-back customers are not remembered as being there."""
    ingested(process, at(1))
    ingested(process, at(1), at(1, **NEW))
    memory = bounds.find_memory(process.connection())
    ids = {row[0].replace("-", "") for row in connection.execute("SELECT customer_id::text FROM customers")}
    assert memory.customers == ids
    assert len(ids) == 2


@pytest.mark.parametrize("wary", [False, True])
def test_both_ways_count_alike(process: Process, connection: Connection, wary: bool) -> None:
    """By day, name and detail; the sum of values, and the latest plan."""
    if wary:
        ingested(process, at(0, event="x"))
        ingested(process, at(0, event="x"))
    used = [
        at(minute, event="feature_used", properties={"feature": feature, "duration_seconds": seconds, "plan": plan})
        for minute, feature, seconds, plan in ((5, "a", 1, "pro"), (4, "b", 2, "team"), (3, "a", 4, "free"))
    ]
    ingested(process, *used, at(6, event="feature_used", properties={"feature": "a"}))
    expected = [("feature_used", "a", 3, 5.0, "pro"), ("feature_used", "b", 1, 2.0, "team")]
    assert [row for row in counts(connection) if row[0] != "x"] == expected


def test_any_text_is_stored_as_it_is(process: Process, connection: Connection) -> None:
    strange = 'ä\t"\\n\\ 🙂'
    ingested(process, event(event=strange, properties={strange: strange, "feature": "ü\\"}))
    assert connection.execute("SELECT event, properties FROM events").fetchall() == [
        (strange, {strange: strange, "feature": "ü\\"})
    ]
    assert [row[:2] for row in counts(connection)] == [(strange, "ü\\")]


def test_an_event_of_the_future_counts_as_seen_now(process: Process, connection: Connection) -> None:
    """Also if the clock of the web process that took it was ahead of Postgres's."""
    ahead = datetime.now(UTC) + timedelta(days=3)
    received_us = int(ahead.timestamp() * 1_000_000)
    push_events(process.redis, event(), event(event="x"), received_us=received_us)
    assert drain(process, LIVE).stored == 2
    assert connection.execute("SELECT bool_and(last_seen <= now()) FROM customers").fetchone() == (True,)
    days = "SELECT bool_and(last_at <= now() AND day <= now()::date) FROM customer_days"
    assert connection.execute(days).fetchone() == (True,)


SPANS = "SELECT email, first_seen, last_seen FROM customers ORDER BY email"
STORED_SPANS = """
SELECT email, min(least(occurred_at, received_at)), max(least(occurred_at, received_at))
FROM events JOIN customers USING (customer_id) GROUP BY email ORDER BY email
"""
T_US = 1_764_583_200_000_000  # 2025-12-01T10:00Z
EARLIER = {"event_id": "a", "timestamp": "2025-11-30T10:00:00Z"}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("wary", [False, True])
@pytest.mark.parametrize("again", [{"event_id": "a"}, EARLIER])
def test_an_event_that_is_sent_again_changes_no_span(
    process: Process, connection: Connection, together: bool, wary: bool, again: dict[str, Any]
) -> None:
    """Its time is another one, by which its customer was not seen, be they new or not."""
    if wary:
        ingested(process, at(0), at(1))
        ingested(process, at(0))
    for number, sent in enumerate((event(event_id="a", **NEW), event(**again, **NEW))):
        push_events(process.redis, sent, received_us=T_US + 2_000 * number)
        if not together:
            drain(process, LIVE)
    drain(process, LIVE)
    assert count(connection, "events") == (3 if wary else 1)
    assert connection.execute(SPANS).fetchall() == connection.execute(STORED_SPANS).fetchall()
