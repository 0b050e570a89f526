import json
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook

from tests.workers.alerts.receiver import Receiver, receiving
from tests.workers.alerts.worlds import alert, rise
from workers.alerts import admission, client, deliver, webhooks
from workers.alerts.deliveries import take
from workers.alerts.templates import Templates
from workers.alerts.webhooks import NewWebhook
from workers.process import Process
from workers.store import Connection, connect, sql
from workers.upkeep import erasure


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "GATHER_SECONDS", 0.0)


def states(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT state, attempts, last_status FROM deliveries ORDER BY at").fetchall()


def make_due(connection: Connection) -> None:
    connection.execute("UPDATE deliveries SET next_attempt_at = now() WHERE state = 'waiting'")


def test_an_alert_reaches_the_receiver_signed(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    jane = rise(connection, account_id, "jane@example.com")
    assert alert(connection, account_id, [jane]) == 1
    assert deliver.drain(process) == 1
    (message,) = receiver.messages
    body = Webhook(webhook.secret).verify(message.body, message.headers)
    assert body["event"] == "churn_risk.alert"
    assert body["id"] == message.headers["webhook-id"] == jane.alert_id
    assert (body["customer_email"], body["risk_score"], body["risk_level"]) == ("jane@example.com", 63, "high")
    assert (body["level_before"], body["signals"]) == ("medium", ["silence"])
    assert "1 Nov" in body["draft"]["body_text"]
    assert body["customer_url"].endswith("/customers/jane@example.com")
    assert states(connection) == [("delivered", 1, 200)]
    (listed,) = webhooks.list_webhooks(connection, account_id)
    assert listed.last_status == 200


def test_what_is_delivered_is_not_sent_again(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    assert [deliver.drain(process), deliver.drain(process)] == [1, 0]
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("status", [500, 404, 301, 429])
def test_anything_but_a_2xx_is_tried_again_later(
    status: int, process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    deliver.drain(process)
    assert len(receiver.messages) == 1  # a redirect is not followed
    assert states(connection) == [("waiting", 1, status)]
    (pause,) = connection.execute("SELECT next_attempt_at - now() FROM deliveries").fetchone() or (None,)
    assert timedelta(seconds=5) < pause <= timedelta(seconds=11)
    receiver.status = 204
    make_due(connection)
    deliver.drain(process)
    assert states(connection) == [("delivered", 2, 204)]
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1


def test_a_410_disables_the_webhook(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    receiver.status = 410
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    deliver.drain(process)
    assert states(connection) == [("failed", 1, 410)]
    assert not webhooks.list_webhooks(connection, account_id)[0].enabled
    assert alert(connection, account_id, [rise(connection, account_id, "joe@example.com")]) == 0


def test_after_three_days_a_delivery_has_failed(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    receiver.status = 503
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    connection.execute("UPDATE deliveries SET give_up_at = now()")
    deliver.drain(process)
    assert states(connection) == [("failed", 1, 503)]


def test_a_receiver_that_hangs_holds_up_no_other(
    process: Process,
    connection: Connection,
    account_id: int,
    receiver: Receiver,
    webhook: NewWebhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "SECONDS", 3.0)
    with receiving() as other:
        webhooks.create(connection, account_id, other.url)
        receiver.held.set()
        emails = [f"c{number}@example.com" for number in range(60)]
        alert(connection, account_id, [rise(connection, account_id, email) for email in emails])
        started = time.monotonic()
        deliver.drain(process)
        assert sorted(other.emails) == sorted(emails)
        assert time.monotonic() - started < 30
    counts = Counter(connection.execute("SELECT webhook_id = %s, state FROM deliveries", [webhook.webhook.webhook_id]))
    assert counts[(False, "delivered")] == 60
    assert counts[(True, "waiting")] == 60


def test_a_receiver_that_closes_early_or_sends_a_flood_is_only_a_receiver(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    receiver.closes_early = True
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    deliver.drain(process)
    assert states(connection) == [("waiting", 1, None)]
    receiver.closes_early, receiver.answer = False, b"x" * 50_000_000
    make_due(connection)
    deliver.drain(process)
    assert states(connection) == [("delivered", 2, 200)]


def test_the_alerts_of_a_customer_keep_their_order(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    now = time.time()
    receiver.status = 500
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com", level="high")], now - 200_000)
    deliver.drain(process)
    receiver.status = 200
    connection.execute(
        "WITH before AS MATERIALIZED (SELECT * FROM alerts) "
        "INSERT INTO alerts SELECT customer_id, gen_random_uuid(), account_id, now(), 'high', 'critical', 0.9, 30, "
        "reasons, advice, false FROM before"
    )
    connection.execute(
        "WITH new AS MATERIALIZED (SELECT * FROM alerts WHERE level = 'critical') "
        "INSERT INTO deliveries (customer_id, alert_id, webhook_id, at) "
        "SELECT customer_id, alert_id, %s::uuid, at FROM new",
        [webhook.webhook.webhook_id],
    )
    deliver.drain(process)
    assert len(receiver.messages) == 1
    make_due(connection)
    deliver.drain(process)
    deliver.drain(process)
    assert [message.json["risk_level"] for message in receiver.messages] == ["high", "high", "critical"]


def test_an_alert_that_comes_while_others_are_admitted_joins_no_summary(
    process: Process,
    connection: Connection,
    account_id: int,
    receiver: Receiver,
    webhook: NewWebhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is room for it: it goes alone, with the next look."""
    asked: list[str] = []

    def sql_and_alert(name: str) -> Any:
        asked.append(name)
        if asked[-2:-1] == ["admit"] and asked.count("admit") == 1:
            alert(connection, account_id, [rise(connection, account_id, "late@example.com")])
        return sql(name)

    alert(connection, account_id, [rise(connection, account_id, "early@example.com")])
    monkeypatch.setattr(admission, "sql", sql_and_alert)
    deliver.drain(process)
    deliver.drain(process)
    assert [message.json["event"] for message in receiver.messages] == ["churn_risk.alert"] * 2


def test_above_the_cap_the_rest_of_the_hour_is_one_message(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    process.settings = msgspec.structs.replace(process.settings, alerts_per_hour=3)
    rises = [
        rise(connection, account_id, f"c{number:02}@example.com", probability=0.5 + number / 100)
        for number in range(20)
    ]
    alert(connection, account_id, rises)
    connection.execute("UPDATE customers SET mrr = 1000, currency = CASE WHEN email < 'c1' THEN 'EUR' ELSE 'JPY' END")
    deliver.drain(process)
    bodies = [message.json for message in receiver.messages]
    assert Counter(body["event"] for body in bodies) == {"churn_risk.alert": 3, "churn_risk.summary": 1}
    (summary,) = [body for body in bodies if body["event"] == "churn_risk.summary"]
    assert summary["count"] == 17
    alone = {body["customer_email"] for body in bodies if body is not summary}
    rest = [f"c{number:02}@example.com" for number in range(19, -1, -1) if f"c{number:02}@example.com" not in alone]
    assert [one["customer_email"] for one in summary["highest"]] == rest[:10]
    assert {body["mrr"] for body in [*bodies, *summary["highest"]] if body is not summary} == {1000}
    euros = sum(email < "c1" for email in rest)
    assert sorted((sums["currency"], sums["level"], sums["customers"], sums["mrr"]) for sums in summary["money"]) == [
        ("EUR", "high", euros, 1000 * euros),
        ("JPY", "high", 17 - euros, 1000 * (17 - euros)),
    ]
    assert Counter(state for state, *_ in states(connection)) == {"delivered": 20}
    alert(connection, account_id, [rise(connection, account_id, "late@example.com")])
    deliver.drain(process)
    assert len(receiver.messages) == 4  # the next summary goes an hour later
    connection.execute(
        "UPDATE deliveries SET admitted_at = (admitted_at AT TIME ZONE 'UTC' - interval '1 hour') AT TIME ZONE 'UTC'"
    )
    connection.execute("UPDATE summaries SET next_attempt_at = now()")
    deliver.drain(process)
    assert receiver.messages[-1].json["count"] == 1


def test_an_erased_customer_is_in_no_message_and_no_table(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    process.settings = msgspec.structs.replace(process.settings, alerts_per_hour=1)
    receiver.status = 500
    emails = ["jane@example.com", "joe@example.com", "ann@example.com"]
    alert(connection, account_id, [rise(connection, account_id, email) for email in emails])
    deliver.drain(process)
    for email in emails:
        erasure.erase(connection, account_id, email)
    connection.execute("UPDATE summaries SET next_attempt_at = now()")
    before = len(receiver.messages)
    make_due(connection)
    deliver.drain(process)
    assert len(receiver.messages) == before
    for table in ("alerts", "deliveries"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_two_workers_share_what_waits(
    process: Process,
    redis: Redis,
    connection: Connection,
    account_id: int,
    receiver: Receiver,
    webhook: NewWebhook,
) -> None:
    second = Process(process.settings, redis)
    alert(connection, account_id, [rise(connection, account_id, f"c{n}@example.com") for n in range(40)])
    workers = [deliver.Deliverer(process), deliver.Deliverer(second)]
    futures = [worker._run(worker._work(time.monotonic() + 20)) for worker in workers]
    assert sum(future.result() for future in futures) == 40
    assert len(receiver.messages) == len(set(receiver.emails)) == 40
    for worker in workers:
        worker.close()
    second.disconnect()


def test_what_a_dead_worker_had_taken_is_sent_under_the_same_id(
    process: Process, connection: Connection, account_id: int, receiver: Receiver, webhook: NewWebhook
) -> None:
    jane = rise(connection, account_id, "jane@example.com")
    alert(connection, account_id, [jane])
    with connect(process.settings.database_url or "") as dead:
        lost = Process(process.settings, process.redis)
        lost._connection = dead
        assert len(take(lost, lambda receiver: 5, Templates())) == 1
    deliver.drain(process)
    assert receiver.messages == []  # leased
    make_due(connection)
    deliver.drain(process)
    assert [json.loads(message.body)["id"] for message in receiver.messages] == [jane.alert_id]
