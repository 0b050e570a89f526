import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from scoring.levels import LevelBounds
from tests.sending import ago
from tests.workers.alerts.receiver import Receiver
from tests.workers.alerts.worlds import alert, note_risk, rise
from tests.workers.events import count, event, ingested
from tests.workers.worlds import account
from workers.alerts import outbox, webhooks
from workers.alerts.holdout import is_held_out
from workers.alerts.webhooks import NewWebhook
from workers.buffer.lanes import HISTORY
from workers.ingest import ingest
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection, connect

DAY = 86400.0


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)
    monkeypatch.setattr(rescore, "LINGER_SECONDS", 0.001)


@pytest.fixture
def score(process: Process, connection: Connection) -> Callable[[], None]:
    """Score everybody, as if it were time."""

    def run() -> None:
        connection.execute("UPDATE customers SET rescore_at = now()")
        rescore.drain(process)

    return run


def alerts(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT level_before, level, held_out FROM alerts ORDER BY at").fetchall()


def a_regular(process: Process) -> None:
    """A customer with a visit on every day, the last one today."""
    ingested(process, *[event(timestamp=ago(days=day, hours=1)) for day in range(40, 0, -1)], lane=HISTORY)
    ingested(process, event())


def trouble(process: Process) -> None:
    ingested(process, event(event="invoice_overdue"), event(event="refund_requested"), event(event="invoice_overdue"))
    ingested(process, event(event="subscription_downgraded"), event(event="support_ticket_opened"))


@pytest.fixture
def low_levels(process: Process) -> None:
    """Levels at which trouble of today is a high risk."""
    process.settings = msgspec.structs.replace(process.settings, level_medium=8.0, level_high=12.0)


def test_an_event_that_raises_the_level_alerts(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook, low_levels: None
) -> None:
    a_regular(process)
    score()
    assert alerts(connection) == []  # a first score
    trouble(process)
    score()
    ((before, level, held_out),) = alerts(connection)
    assert (before, held_out) == ("low", False)
    assert level in ("high", "critical")
    assert count(connection, "deliveries") == 1
    score()
    assert count(connection, "alerts") == 1


def test_silence_that_raises_the_level_alerts(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook
) -> None:
    a_regular(process)
    score()
    connection.execute(
        "UPDATE customer_days SET day = day - 40,"
        " last_at = (last_at AT TIME ZONE 'UTC' - interval '40 days') AT TIME ZONE 'UTC'"
    )
    connection.execute("UPDATE customers SET due_because = NULL")
    score()
    assert [before for before, *_ in alerts(connection)] == ["low"]


def test_a_rise_below_the_webhooks_level_alerts_nobody(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook
) -> None:
    process.settings = msgspec.structs.replace(process.settings, level_medium=8.0, level_high=98.0, level_critical=99.0)
    a_regular(process)
    score()
    trouble(process)
    score()
    assert connection.execute("SELECT level FROM customers").fetchall() == [("medium",)]
    assert alerts(connection) == []


def test_an_import_alerts_nobody(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook
) -> None:
    a_regular(process)
    score()
    ((before,),) = connection.execute("SELECT probability * 100 FROM customers").fetchall()
    process.settings = msgspec.structs.replace(process.settings, level_medium=before + 0.01, level_high=before + 0.02)
    late = [event(event=name, timestamp=ago(days=2)) for name in ("invoice_overdue", "refund_requested")]
    ingested(process, *late, lane=HISTORY)
    connection.execute("UPDATE customers SET due_because = 'import'")
    score()
    assert connection.execute("SELECT level FROM customers").fetchall() != [("low",)]
    assert alerts(connection) == []


def test_new_levels_alert_nobody(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook
) -> None:
    a_regular(process)
    trouble(process)
    score()
    process.settings = msgspec.structs.replace(process.settings, level_medium=1.0, level_high=2.0)
    connection.execute("UPDATE customers SET due_because = NULL")
    score()
    assert alerts(connection) == []


def test_a_new_horizon_alerts_nobody(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook, low_levels: None
) -> None:
    a_regular(process)
    score()
    connection.execute("UPDATE customers SET horizon_days = 29")
    trouble(process)
    score()
    assert alerts(connection) == []


def test_stale_input_and_the_score_after_it_alert_nobody(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook, low_levels: None
) -> None:
    a_regular(process)
    score()
    connection.execute("UPDATE customers SET stale_input = true")
    trouble(process)
    score()
    assert alerts(connection) == []


def test_the_first_score_after_a_restore_alerts_nobody(
    process: Process, connection: Connection, score: Callable[[], None], webhook: NewWebhook, low_levels: None
) -> None:
    a_regular(process)
    score()
    connection.execute("UPDATE alerting SET identity = 'another'")
    trouble(process)
    score()
    assert alerts(connection) == []
    connection.execute("UPDATE alerting SET seen_at = now() - interval '2 hours', since = '-infinity'")
    outbox.note_alerting(connection)
    assert outbox.alerting_since(connection) > time.time() - 60


def test_the_simulated_company_alerts_nobody(connection: Connection, account_id: int, webhook: NewWebhook) -> None:
    assert alert(connection, account_id, [rise(connection, account_id, "x@demo.example")]) == 0


def test_without_a_webhook_there_is_no_alert(connection: Connection, account_id: int) -> None:
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    assert alerts(connection) == []


def test_the_same_rise_is_the_same_alert(connection: Connection, account_id: int, webhook: NewWebhook) -> None:
    """A copy of the database that comes to it again gives the same id."""
    jane = rise(connection, account_id, "jane@example.com")
    alert(connection, account_id, [jane])
    connection.execute("DELETE FROM alerts; DELETE FROM deliveries")
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    assert connection.execute("SELECT alert_id::text FROM alerts").fetchall() == [(jane.alert_id,)]


@pytest.mark.parametrize(("below_hours", "again"), [(2, False), (23, False), (25, True)])
def test_a_level_alerts_again_after_a_day_below_it(
    connection: Connection, account_id: int, webhook: NewWebhook, below_hours: int, again: bool
) -> None:
    now = time.time()
    jane = rise(connection, account_id, "jane@example.com")
    alert(connection, account_id, [jane], now - 5 * DAY)
    note_risk(connection, jane.customer_id, now - 5 * DAY, "high")
    note_risk(connection, jane.customer_id, now - 4 * DAY, "medium", 0.3)
    note_risk(connection, jane.customer_id, now - 3 * DAY, "high")
    note_risk(connection, jane.customer_id, now - below_hours * 3600, "medium", 0.3)
    later = rise(connection, account_id, "jane@example.com", before_at=now - below_hours * 3600)
    alert(connection, account_id, [later], now)
    assert count(connection, "alerts") == 1 + again


def test_another_level_is_another_matter(connection: Connection, account_id: int, receiver: Receiver) -> None:
    webhooks.create(connection, account_id, receiver.url, min_level="high")
    webhooks.create(connection, account_id, receiver.url, min_level="critical")
    now = time.time()
    jane = rise(connection, account_id, "jane@example.com")
    assert alert(connection, account_id, [jane], now - 3600) == 1
    note_risk(connection, jane.customer_id, now - 3600, "high")
    worse = rise(connection, account_id, "jane@example.com", "high", "critical", 0.9, now - 3600)
    assert alert(connection, account_id, [worse], now) == 1
    assert alert(connection, account_id, [rise(connection, account_id, "joe@example.com", "low", "critical")], now) == 2


def test_what_is_held_out_is_recorded_and_goes_nowhere(
    connection: Connection, account_id: int, webhook: NewWebhook
) -> None:
    connection.execute("UPDATE accounts SET holdout_percent = 50")
    emails = [f"c{number}@example.com" for number in range(60)]
    rises = [rise(connection, account_id, email) for email in emails]
    waiting = alert(connection, account_id, rises)
    held_out = sum(out for *_, out in alerts(connection))
    assert waiting + held_out == 60
    assert 15 <= held_out <= 45
    assert held_out == sum(is_held_out(one.customer_id, 50) for one in rises)
    assert all(is_held_out(one.customer_id, 60) for one in rises if is_held_out(one.customer_id, 50))


def test_one_accounts_alerts_are_no_other_accounts(
    connection: Connection, account_id: int, webhook: NewWebhook
) -> None:
    other = account(connection, "other")
    assert alert(connection, other, [rise(connection, other, "jane@example.com")]) == 0


def test_levels_that_were_lowered_since_are_no_rise(
    connection: Connection, account_id: int, webhook: NewWebhook
) -> None:
    jane = rise(connection, account_id, "jane@example.com", probability=0.46)
    note_risk(connection, jane.customer_id, time.time() - 3600, "medium", 0.45)
    with connection.transaction():
        assert outbox.write(connection, account_id, [jane], time.time(), 30, LevelBounds(0.2, 0.4, 0.75)) == 0


def test_a_transaction_that_began_before_the_last_note_may_alert(process: Process, connection: Connection) -> None:
    """Another process notes the database while a batch is scored: that is no restored copy."""
    outbox.note_alerting(connection)
    with connection.transaction():
        connection.execute("SELECT pg_current_xact_id()")
        with connect(process.settings.database_url or "") as other:
            other.execute("UPDATE alerting SET seen_at = now() - interval '10 seconds'")
            outbox.note_alerting(other)
        assert outbox.alerting_since(connection) < time.time() - DAY
    with connect(process.settings.database_url or "") as other:
        other.execute("UPDATE alerting SET last_xid = last_xid + 5")
        outbox.note_alerting(other)
    assert outbox.alerting_since(connection) < time.time() - DAY
