"""Alerts reach their receiver at least once, under one id, in order, whatever happens to the delivering processes."""

from collections import defaultdict
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.acceptance.line import Line
from tests.proxy import Proxy
from tests.waiting import wait_until
from tests.workers.alerts.receiver import Receiver, receiving
from tests.workers.alerts.worlds import alert, rise
from tests.workers.worlds import account
from workers.alerts import webhooks
from workers.settings import Settings
from workers.store import Connection

ALERTS = 150
WAIT_SECONDS = 150.0  # a lease is 30 s, the first pauses 10 s and a minute


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def expected(connection: Connection, receiver: Receiver) -> dict[str, str]:
    """Alerts that wait: the id of each, and the customer."""
    account_id = account(connection)
    webhooks.create(connection, account_id, receiver.url)
    rises = [rise(connection, account_id, f"c{number}@example.com") for number in range(ALERTS)]
    alert(connection, account_id, rises)
    return {each.alert_id: f"c{number}@example.com" for number, each in enumerate(rises)}


@pytest.fixture
def line(running: Line) -> Line:
    """A line that may deliver to loopback, as many as there are."""
    running.environment |= {"WINDBACK_WEBHOOK_PRIVATE_ADDRESSES": "true", "WINDBACK_ALERTS_PER_HOUR": "1000"}
    return running


def delivered(connection: Connection) -> bool:
    return connection.execute("SELECT count(*) FROM deliveries WHERE state <> 'delivered'").fetchone() == (0,)


def by_id(receiver: Receiver) -> dict[str, set[str]]:
    """The customers that each id was sent about; the id of the body is that of the headers."""
    messages = defaultdict(set)
    for message in receiver.messages:
        assert message.json["id"] == message.headers["webhook-id"]
        messages[message.json["id"]].add(message.json["customer_email"])
    return messages


def check(receiver: Receiver, expected: dict[str, str]) -> None:
    assert by_id(receiver) == {alert_id: {email} for alert_id, email in expected.items()}


def test_a_worker_that_is_killed_and_an_emptied_redis_lose_no_alert(
    line: Line, redis: Redis, connection: Connection, receiver: Receiver, expected: dict[str, str]
) -> None:
    line.start("deliver", "clock")
    for number in (10, 60):
        wait_until(lambda number=number: len(receiver.messages) >= number, timeout=WAIT_SECONDS)  # type: ignore[misc]
        line.kill("deliver")
        redis.flushall()
        line.launch("deliver")
    wait_until(lambda: delivered(connection), timeout=WAIT_SECONDS, interval=0.2)
    check(receiver, expected)
    assert len(receiver.messages) < 2 * ALERTS


def test_an_outage_of_postgres_and_a_receiver_in_trouble_lose_no_alert(
    line: Line, settings: Settings, connection: Connection, receiver: Receiver, expected: dict[str, str]
) -> None:
    proxy = Proxy(settings.database_url or "")
    line.environment["DATABASE_URL"] = proxy.url
    receiver.status = 500
    line.start("deliver", "clock")
    wait_until(lambda: len(receiver.messages) >= 10, timeout=WAIT_SECONDS)
    proxy.cut()
    receiver.status = 200
    wait_until(lambda: len(receiver.messages) >= 40, timeout=WAIT_SECONDS)
    proxy.cut()
    wait_until(lambda: delivered(connection), timeout=WAIT_SECONDS, interval=0.2)
    check(receiver, expected)


def test_two_workers_send_each_alert_once(
    line: Line, connection: Connection, receiver: Receiver, expected: dict[str, str]
) -> None:
    line.start("deliver", "clock")
    line.launch("deliver.2")
    wait_until(lambda: delivered(connection), timeout=WAIT_SECONDS, interval=0.2)
    check(receiver, expected)
    assert len(receiver.messages) == ALERTS
