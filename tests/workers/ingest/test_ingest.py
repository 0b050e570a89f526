from datetime import UTC, date, datetime
from typing import Any

from redis import Redis

from tests.workers.events import event, ingested, push_events, with_batch
from workers import tickets
from workers.buffer.lanes import LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection


def test_an_event_is_stored_with_its_customer_its_rollup_and_its_due_time(
    process: Process, connection: Connection
) -> None:
    properties = {"feature": "exports", "duration_seconds": 30, "plan": "pro"}
    ingested(process, event(event="feature_used", timestamp="2025-12-01T10:00:00Z", properties=properties))
    assert connection.execute("SELECT event, occurred_at, properties FROM events").fetchall() == [
        ("feature_used", datetime(2025, 12, 1, 10, tzinfo=UTC), properties)
    ]
    assert connection.execute("SELECT email, account_id, rescore_at <= now() FROM customers").fetchall() == [
        ("jane@example.com", 1, True)
    ]
    assert connection.execute("SELECT day, event, detail, n, value, plan FROM customer_days").fetchall() == [
        (date(2025, 12, 1), "feature_used", "exports", 1, 30.0, "pro")
    ]


def test_the_rollup_counts_by_day_and_keeps_the_latest(process: Process, connection: Connection) -> None:
    def used(time: str, plan: str) -> dict[str, Any]:
        return event(timestamp=f"2025-12-01T{time}Z", properties={"duration_seconds": 10, "plan": plan})

    ingested(process, used("10:00:00", "pro"), used("12:00:00", "team"))
    ingested(process, used("11:00:00", "basic"))
    assert connection.execute("SELECT n, value, last_at, plan FROM customer_days").fetchall() == [
        (3, 30.0, datetime(2025, 12, 1, 12, tzinfo=UTC), "team")
    ]


def test_what_is_stored_leaves_the_buffer(process: Process, redis: Redis) -> None:
    ingested(process, event(), event())
    assert redis.xlen(LIVE.stream) == 0
    assert redis.hgetall(LIVE.ledger) == {b"accepted": b"2", b"settled": b"2"}


def test_a_customer_is_not_rescored_more_often_than_every_few_seconds(process: Process, connection: Connection) -> None:
    ingested(process, event())
    connection.execute("UPDATE customers SET scored_at = now(), rescore_at = now() + interval '1 day'")
    ingested(process, event())
    (row,) = connection.execute("SELECT extract(epoch FROM rescore_at - scored_at)::float8 FROM customers")
    assert row == (process.settings.rescore_seconds,)


def test_a_customer_who_is_due_anyway_is_left_alone_and_seen_all_the_same(
    process: Process, connection: Connection
) -> None:
    """The row is written once until the next score, however many batches come; last_seen follows with the score."""
    ingested(process, event(timestamp="2025-12-01"))
    (before,) = connection.execute("SELECT ctid::text FROM customers").fetchall()
    ingested(process, event(timestamp="2025-12-02"))
    assert connection.execute("SELECT ctid::text FROM customers").fetchall() == [before]
    ingested(process, event(timestamp="2025-11-30"))
    rescore.rescore_due(process)
    assert connection.execute("SELECT first_seen::date, last_seen::date FROM customers").fetchall() == [
        (date(2025, 11, 30), date(2025, 12, 2))
    ]


def test_a_stored_event_asks_for_a_rescore(process: Process, redis: Redis) -> None:
    ingested(process, event())
    assert tickets.count_waiting(redis, "score") == 1


def test_a_full_batch_calls_for_more_hands(process: Process, redis: Redis) -> None:
    process.settings = with_batch(process, 100)
    push_events(redis, *[event() for _ in range(100)])
    drain(process, LIVE)
    assert tickets.count_waiting(redis, LIVE.queue) == 1
