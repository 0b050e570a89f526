"""Why a score was written, whether it is recorded, and whose turn comes first."""

import time
from typing import Any

import psycopg
import pytest

from tests.sending import ago
from tests.workers.events import count, entry, event, ingested, push, request
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest import ingest
from workers.process import Process
from workers.risk import compute, rescore
from workers.risk.days import read_rollup
from workers.risk.rescore import release_provisional, rescore_due
from workers.store import Connection
from workers.upkeep.level_moves import repair_levels

DUE = "UPDATE customers SET rescore_at = now() - interval '1 second'"


def causes(connection: Connection) -> list[str]:
    return [because for (because,) in connection.execute("SELECT because FROM risk_history ORDER BY at")]


def first_row(connection: Connection, columns: str) -> tuple[Any, ...]:
    row = connection.execute(f"SELECT {columns} FROM customers").fetchone()
    assert row
    return row


def rescored(process: Process, connection: Connection, change: str) -> str:
    """The cause of the score that follows this change of the customer's row."""
    connection.execute(f"{DUE}, {change}")
    rescore_due(process)
    return causes(connection)[-1]


def test_each_score_says_why_it_was_written(process: Process, connection: Connection) -> None:
    ingested(process, event())
    rescore_due(process)
    assert causes(connection) == ["first"]
    other = "recorded_level = 'critical'"
    assert rescored(process, connection, other) == "silence"
    assert rescored(process, connection, f"{other}, due_because = 'event'") == "event"
    assert rescored(process, connection, f"{other}, due_because = 'import'") == "import"
    assert rescored(process, connection, f"{other}, stale_input = true") == "stale"
    assert rescored(process, connection, f"{other}, generation = 7") == "settings"
    assert rescored(process, connection, f"{other}, model = 'map-3'") == "model"
    assert rescored(process, connection, f"{other}, horizon_days = 60") == "model"
    assert rescored(process, connection, f"{other}, provisional = true, due_because = 'event'") == "import"


def test_an_event_makes_its_customer_due_by_it_even_where_silence_had(process: Process, connection: Connection) -> None:
    ingested(process, event())
    rescore_due(process)
    connection.execute(f"{DUE}, scored_at = now() - interval '1 hour'")
    ingested(process, event())
    assert first_row(connection, "due_because") == ("event",)
    rescore_due(process)
    assert first_row(connection, "due_because") == (None,)
    ingested(process, event(timestamp=ago(days=40)), lane=HISTORY)
    assert first_row(connection, "due_because") == ("import",)


def test_while_history_arrives_a_risk_is_shown_and_nothing_is_recorded(
    process: Process, connection: Connection
) -> None:
    """The first recorded risk is the one with all of the history; the clock sees to it."""
    push(process.redis, entry(request(event(timestamp=ago(days=3)))), lane=HISTORY, arriving=[1])
    ingested(process, event(event="invoice_overdue", timestamp=ago(days=70)))
    rescore_due(process)
    assert first_row(connection, "provisional, level IS NULL, recorded_at IS NULL") == (True, False, True)
    assert [count(connection, table) for table in ("risk_history", "risk_moves")] == [0, 0]
    repair_levels(process)
    assert count(connection, "risk_moves") == 0
    release_provisional(process)
    assert rescore_due(process) == 0, "history waits"
    ingest.drain(process, HISTORY)
    release_provisional(process)
    rescore_due(process)
    assert first_row(connection, "provisional, recorded_level = level") == (False, True)
    assert causes(connection) == ["import"]
    assert count(connection, "risk_moves") == 1


def test_a_level_that_stood_before_an_import_is_what_later_ones_are_compared_with(
    process: Process, connection: Connection
) -> None:
    ingested(process, event())
    rescore_due(process)
    (before,) = first_row(connection, "recorded_level")
    push(process.redis, entry(request(event(timestamp=ago(days=3)))), lane=HISTORY, arriving=[1])
    connection.execute(f"{DUE}, level = 'critical'")
    rescore_due(process)
    assert first_row(connection, "recorded_level, provisional") == (before, True)
    assert count(connection, "risk_history") == 1


def test_customers_due_by_an_event_come_before_all_others(process: Process, connection: Connection) -> None:
    ingested(process, *[event(customer_email=f"c{n}@example.com") for n in range(20)])
    while rescore_due(process):
        pass
    connection.execute(f"{DUE}, scored_at = now() - interval '1 hour'")
    ingested(process, event(customer_email="c7@example.com"))
    process.scoring_pace.most = process.scoring_pace.size = 1
    rescore_due(process)
    latest = "SELECT email FROM customers WHERE rescore_at > now()"
    assert connection.execute(latest).fetchall() == [("c7@example.com",)]


def test_accounts_take_turns(process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of one account's events leaves room for the others', however many there are."""
    monkeypatch.setattr(rescore, "ACCOUNTS_AT_ONCE", 2)
    process.scoring_pace.most = process.scoring_pace.size = 4
    now = time.time_ns() // 1000
    flood = [request(event(customer_email=f"c{n}@example.com"), received_us=now) for n in range(40)]
    few = [request(event(), account_id=account_id, received_us=now) for account_id in range(2, 6)]
    push(process.redis, *[entry(one, batch_id=b"%d" % n) for n, one in enumerate(flood + few)])
    ingest.drain(process, LIVE)
    for _ in range(4):
        rescore_due(process)
    waiting = connection.execute("SELECT DISTINCT account_id FROM customers WHERE scored_at IS NULL").fetchall()
    assert waiting == [(1,)]


def test_what_takes_too_much_is_halved_down_to_the_customer_at_fault(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job repeats the same work for ever: the others are scored, and the one is tried again tomorrow."""
    ingested(process, *[event(customer_email=f"c{n}@example.com") for n in range(9)])
    bad, read = first_row(connection, "customer_id::text")[0], read_rollup

    def too_much(connection: Connection, customer_ids: Any, *rest: Any, **options: Any) -> Any:
        if bad in customer_ids:
            raise psycopg.errors.QueryCanceled("statement timeout")
        return read(connection, customer_ids, *rest, **options)

    monkeypatch.setattr(compute, "read_rollup", too_much)
    rescore.drain(process)
    left = connection.execute("SELECT customer_id::text FROM customers WHERE scored_at IS NULL").fetchall()
    assert left == [(bad,)]
    assert first_row(connection, "min(rescore_at) > now() + interval '4 seconds'") == (True,)


def test_long_histories_are_scored_fewer_at_once(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of busy customers takes no more memory than a larger one of others, and the pace recovers."""
    ingested(process, *[event(customer_email=f"c{n}@example.com") for n in range(9)])
    sizes = []
    monkeypatch.setattr(rescore, "MANY_ROWS", 2)
    process.scoring_pace.most = process.scoring_pace.size = 4
    while rescore_due(process):
        sizes.append(process.scoring_pace.size)
    assert sizes == [2, 4, 2]
    assert process.scoring_pace.size == 4
