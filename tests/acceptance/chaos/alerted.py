"""The promises of alerts: each follows from a recorded risk and none is missing; each was delivered, under one id."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from scoring.levels import NAMES
from tests.workers.alerts.receiver import Receiver
from workers.accounts import keys, registry
from workers.alerts import webhooks
from workers.store import Connection

MIN_LEVEL = "high"
OWN_DOING = ("event", "silence")
SETTINGS = {"WINDBACK_WEBHOOK_PRIVATE_ADDRESSES": "true", "WINDBACK_ALERTS_PER_HOUR": "100000"}

HISTORY = """
SELECT customer_id::text, at, risk_history.level, because FROM risk_history JOIN customers USING (customer_id)
JOIN accounts USING (account_id) WHERE accounts.name = 'calm' ORDER BY customer_id, at
"""
GIVEN = "SELECT customer_id::text, at FROM alerts"
UNDELIVERED = "SELECT alert_id::text, state FROM deliveries WHERE state <> 'delivered'"
EXPECTED = "SELECT alert_id::text, email FROM alerts JOIN customers USING (customer_id) WHERE NOT held_out"
WAITING = "SELECT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')"


def add_account(connection: Connection, redis: Redis, receiver: Receiver) -> str:
    """Make an account whose alerts go to the receiver. Returns its key."""
    secret = keys.create(connection, redis, "calm").secret
    webhooks.create(
        connection, registry.resolve_account(connection, "calm").account_id, receiver.url, min_level=MIN_LEVEL
    )
    return secret


def is_waiting(connection: Connection) -> bool:
    """Returns True if an alert is still on its way."""
    return connection.execute(WAITING).fetchone() == (True,)


def check_alerts(connections: Sequence[Connection], receiver: Receiver) -> Iterator[str]:
    """The faults, in words."""
    wanted, recorded = set(rises(connections)), set(_gather(connections, GIVEN))
    yield from (f"no alert was given of {customer} at {at}" for customer, at in wanted - recorded)
    yield from (f"an alert was given of {customer} at {at} without a reason" for customer, at in recorded - wanted)
    undelivered = _gather(connections, UNDELIVERED)
    yield from (f"the delivery of alert {alert_id} is {state}" for alert_id, state in undelivered)
    expected = {alert_id: {email} for alert_id, email in _gather(connections, EXPECTED)}
    received: defaultdict[str, set[str]] = defaultdict(set)
    for message in receiver.messages:
        received[message.headers["webhook-id"]].add(message.json["customer_email"])
    yield from (f"alert {alert_id} reached nobody" for alert_id in expected.keys() - received.keys())
    yield from (f"{alert_id} was sent, and is no alert" for alert_id in received.keys() - expected.keys())
    differing = [alert_id for alert_id in expected.keys() & received.keys() if expected[alert_id] != received[alert_id]]
    yield from (f"alert {alert_id} was sent about somebody else" for alert_id in differing)


def _gather(connections: Sequence[Connection], query: str) -> list[Any]:
    return [row for connection in connections for row in connection.execute(query)]


def rises(connections: Sequence[Connection]) -> Iterator[tuple[str, Any]]:
    """The first rise of each customer to the level of the webhook: a storm is too short for a second one."""
    least, before, seen = NAMES.index(MIN_LEVEL), ("", ""), set()
    for customer, at, level, because in _gather(connections, HISTORY):
        below = before[0] == customer and NAMES.index(before[1]) < least
        if below and NAMES.index(level) >= least and because in OWN_DOING and customer not in seen:
            seen.add(customer)
            yield customer, at
        before = (customer, level)
