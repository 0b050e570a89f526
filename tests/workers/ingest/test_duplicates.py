"""Events that are sent or delivered again."""

from redis import Redis

from tests.workers.events import count, entry, event, ingested, push, push_events, request
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.store import Connection


def test_the_same_event_is_stored_once(process: Process, connection: Connection) -> None:
    """Within a batch, over batches and over lanes."""
    same = event(timestamp="2025-12-01T10:00:00Z", properties={"a": 1})
    assert ingested(process, same, same) == Outcome(stored=1, duplicate=1)
    push_events(process.redis, same, lane=HISTORY)
    assert drain(process, HISTORY) == Outcome(duplicate=1)
    assert connection.execute("SELECT n FROM customer_days").fetchall() == [(1,)]


def test_the_same_event_id_is_stored_once_with_any_timestamp_or_none(process: Process, connection: Connection) -> None:
    ingested(process, event(event_id="a"), event(event_id="a", timestamp="2025-12-01"), event(event_id="b"))
    outcome = ingested(process, event(event_id="a"), event(event_id="b", timestamp="2025-12-02"))
    assert outcome == Outcome(duplicate=2)
    assert count(connection, "events") == 2


def test_an_event_id_belongs_to_its_customer(process: Process) -> None:
    assert ingested(process, event(event_id="a"), event(event_id="a", customer_email="b@c.de")).stored == 2


def test_events_without_identity_are_new_each_time(process: Process) -> None:
    assert ingested(process, event(), event()).stored == 2
    assert ingested(process, event()).stored == 1


def test_an_entry_that_is_delivered_twice_is_stored_once(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """A worker that dies between COMMIT and acknowledgement costs nothing."""
    one = entry(request(event(), event(), event(event_id="x")))
    push(redis, one, one, events=3)
    assert drain(process, LIVE) == Outcome(stored=3, duplicate=3)
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchall() == [(3,)]


def test_a_duplicate_makes_nobody_due(process: Process, connection: Connection) -> None:
    """Importing a file again costs no rescoring."""
    same = event(timestamp="2025-12-01")
    ingested(process, same)
    connection.execute("UPDATE customers SET rescore_at = 'infinity'")
    ingested(process, same)
    assert connection.execute("SELECT rescore_at::text FROM customers").fetchall() == [("infinity",)]
