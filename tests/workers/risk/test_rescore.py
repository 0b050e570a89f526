import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tests.sending import ago
from tests.workers.events import count, event, ingested, push_events
from workers.buffer.lanes import LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import rescore
from workers.risk.rescore import rescore_due
from workers.store import Connection


def customer(connection: Connection, *columns: str) -> tuple[Any, ...]:
    row = connection.execute(f"SELECT {', '.join(columns)} FROM customers").fetchone()
    assert row
    return row


def test_a_due_customer_gets_a_risk_its_reasons_and_the_next_due_time(process: Process, connection: Connection) -> None:
    ingested(process, *[event(timestamp=ago(days=day)) for day in range(3, 40)])
    assert rescore.drain(process) == 1
    probability, level, state, model, reasons = customer(
        connection, "probability", "level", "state", "model", "reasons"
    )
    assert 0 < probability < 1
    assert (level, state, model) == (process.settings.levels.name(probability), "active", "prior-1")
    assert {"signal", "points", "text"} <= reasons[0].keys()
    (due_in,) = customer(connection, "rescore_at - scored_at")
    assert timedelta() < due_in <= timedelta(days=1)


def test_nobody_is_scored_twice_without_a_reason(process: Process) -> None:
    ingested(process, event())
    assert [rescore_due(process), rescore_due(process)] == [1, 0]


def test_silence_alone_brings_a_customer_back(process: Process, connection: Connection) -> None:
    ingested(process, event())
    rescore_due(process)
    connection.execute("UPDATE customers SET rescore_at = now() - interval '1 second'")
    assert rescore_due(process) == 1


def test_what_happened_shows_in_the_row(process: Process, connection: Connection) -> None:
    ingested(
        process,
        event(event="support_ticket_opened"),
        event(event="invoice_overdue"),
        event(event="nps_response", properties={"score": 3}),
        event(event="feature_used", properties={"plan": "pro", "feature": "exports"}),
    )
    rescore_due(process)
    found = customer(connection, "open_tickets", "overdue_since IS NOT NULL", "nps", "plan", "advice ->> 'strategy'")
    assert found == (1, True, 3, "pro", "payment_recovery")


def test_the_history_gets_a_row_when_the_level_changes_or_a_day_has_passed(
    process: Process, connection: Connection
) -> None:
    ingested(process, event())
    rescore_due(process)
    again = "UPDATE customers SET rescore_at = now() - interval '1 second'"
    connection.execute(again)
    rescore_due(process)
    assert count(connection, "risk_history") == 1
    connection.execute(f"{again}, recorded_level = 'critical'")
    rescore_due(process)
    assert count(connection, "risk_history") == 2
    connection.execute(f"{again}, recorded_at = (recorded_at AT TIME ZONE 'UTC' - interval '1 day') AT TIME ZONE 'UTC'")
    rescore_due(process)
    assert count(connection, "risk_history") == 3


def test_score_workers_share_the_work(process: Process, connection: Connection) -> None:
    """A customer whom one worker is scoring is left alone by the others."""
    ingested(process, *[event(customer_email=f"c{n}@example.com") for n in range(1200)])
    workers = [Process(process.settings, process.redis) for _ in range(3)]
    scored: list[int] = []
    threads = [threading.Thread(target=lambda one=one: scored.append(rescore.drain(one))) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in workers:
        one.disconnect()
    assert sum(scored) == 1200
    assert count(connection, "risk_history") == 1200


def test_an_event_that_comes_while_its_customer_is_scored_brings_them_back(
    process: Process, connection: Connection
) -> None:
    """The final score includes the last event, whatever the order of the commits."""
    ingested(process, event())
    scorer = Process(process.settings, process.redis)
    with scorer.connection().transaction():
        assert rescore_due(scorer) == 1
        push_events(process.redis, event())
        ingesting = threading.Thread(target=drain, args=(process, LIVE))
        ingesting.start()
    ingesting.join()
    scorer.disconnect()
    (soon,) = customer(connection, "rescore_at <= scored_at + interval '6 seconds'")
    assert soon
    assert count(connection, "events") == 2


def test_levels_are_a_setting(process: Process, connection: Connection) -> None:
    strict = msgspec.structs.replace(process.settings, level_medium=0.1, level_high=0.2, level_critical=0.3)
    ingested(process, event())
    other = Process(strict, process.redis)
    rescore_due(other)
    other.disconnect()
    assert customer(connection, "level") == ("critical",)


def test_a_clock_that_is_ahead_hides_nothing(process: Process, connection: Connection) -> None:
    """An event of a few minutes ahead shares its row with those of the day: all of them count at once."""
    ahead = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    ingested(process, *[event(timestamp=ago(days=day)) for day in range(30, 20, -1)], event())
    ingested(process, event(timestamp=ahead))
    rescore_due(process)
    assert customer(connection, "state", "last_seen <= now()") == ("active", True)
    assert count(connection, "events") == 12
