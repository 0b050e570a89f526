"""Nobody waits for the row of a customer that somebody else holds: what happened is left as news, and is heeded."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from tests.workers.events import count, event, ingested
from workers import clock, tickets
from workers.buffer.columns import make_columns
from workers.buffer.fold import fold
from workers.buffer.lanes import HISTORY
from workers.buffer.table import tabulate
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.risk.rescore import rescore_due
from workers.store import Connection, connect, sql
from workers.upkeep import erasure


@contextmanager
def held(process: Process) -> Iterator[None]:
    """Another transaction holds every customer, as a score does or the other lane."""
    with connect(process.settings.database_url or "") as other, other.transaction():
        other.execute("SELECT FROM customers FOR UPDATE")
        yield


def seen(connection: Connection) -> list[Any]:
    return connection.execute("SELECT first_seen::date, last_seen::date, rescore_at <= now() FROM customers").fetchall()


def scored(process: Process, connection: Connection) -> None:
    """A customer with a score of a while ago, and a day's silence until the next."""
    ingested(process, event(timestamp="2025-12-01"))
    rescore_due(process)
    connection.execute(
        "UPDATE customers SET scored_at = (scored_at AT TIME ZONE 'UTC' - interval '1 hour') AT TIME ZONE 'UTC'"
    )


def test_an_event_of_a_customer_that_is_held_is_stored_at_once(process: Process, connection: Connection) -> None:
    scored(process, connection)
    with held(process):
        assert ingested(process, event(timestamp="2025-12-02")) == Outcome(stored=1)
        assert ingested(process, event(timestamp="2025-11-30"), lane=HISTORY) == Outcome(stored=1)
    assert count(connection, "events") == 3
    assert count(connection, "news") == 2
    assert seen(connection) == [(date(2025, 12, 1), date(2025, 12, 1), False)]


def test_the_next_score_heeds_the_news(process: Process, connection: Connection) -> None:
    scored(process, connection)
    with held(process):
        ingested(process, event(timestamp="2025-12-02"), event(timestamp="2025-11-30"))
    assert rescore_due(process) == 1
    assert seen(connection) == [(date(2025, 11, 30), date(2025, 12, 2), False)]
    assert count(connection, "news") == 0
    assert rescore_due(process) == 0


def test_news_of_a_customer_who_was_scored_just_now_wait_their_turn(process: Process, connection: Connection) -> None:
    ingested(process, event())
    rescore_due(process)
    with held(process):
        ingested(process, event())
    assert rescore_due(process) == 0
    assert count(connection, "news") == 0
    due = "SELECT extract(epoch FROM rescore_at - scored_at)::float8 FROM customers"
    assert connection.execute(due).fetchall() == [(process.settings.rescore_seconds,)]


def test_news_wait_as_long_as_the_customer_is_held(process: Process, connection: Connection) -> None:
    scored(process, connection)
    with held(process):
        ingested(process, event(timestamp="2025-12-02"))
        assert rescore_due(process) == 0
        assert count(connection, "news") == 1
    assert rescore_due(process) == 1


def test_news_call_for_a_score(process: Process, connection: Connection) -> None:
    """The process that left them may have died before it asked for a ticket."""
    scored(process, connection)
    with held(process):
        ingested(process, event(timestamp="2025-12-02"))
    process.redis.flushall()
    clock.issue_score_ticket(process)
    assert tickets.count_waiting(process.redis, "score") == 1


def test_news_of_nobody_go(process: Process, connection: Connection) -> None:
    scored(process, connection)
    with held(process):
        ingested(process, event(timestamp="2025-12-02"))
    connection.execute("DELETE FROM customers")
    assert rescore_due(process) == 0
    assert count(connection, "news") == 0


def test_a_new_customer_is_nobodys_news(process: Process, connection: Connection) -> None:
    scored(process, connection)
    with held(process):
        ingested(process, event(customer_email="joe@example.com", timestamp="2025-12-02"))
    assert count(connection, "news") == 0
    assert count(connection, "customers") == 2


def test_customers_are_looked_up_however_few_there_were_when_the_plan_was_made(
    process: Process, connection: Connection
) -> None:
    scored(process, connection)
    connection.execute("ANALYZE customers")
    with connection.transaction():
        erasure.join_storing(connection)
        columns = make_columns(fold(tabulate([])))
        plan = connection.execute("EXPLAIN " + sql("add_events"), {**columns, "rescore_seconds": 5}).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "customers_pkey" in text
    assert "Seq Scan on customers" not in text
