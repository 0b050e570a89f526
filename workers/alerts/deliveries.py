"""Deliveries as rows: taking them with their messages, and saving their results."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from scoring.drafts.draft import Draft, write_draft
from scoring.drafts.language import TemplateError
from workers.alerts import admission
from workers.alerts.client import SECONDS, PostResult
from workers.alerts.messages import HIGHEST, Alert, PaidAtLevel, encode_alert, encode_summary
from workers.alerts.schedule import GONE, pause_after
from workers.alerts.templates import Templates
from workers.alerts.webhooks import Receiver, list_receivers
from workers.process import Process
from workers.store import Connection, sql

log = logging.getLogger(__name__)

LEASE_SECONDS = 3 * SECONDS  # for an attempt, and for saving its result
MOST_SUMMARIES = 8  # at a time


class Delivery(NamedTuple):
    """An alert on its way to a receiver; `last` is an attempt after which it is given up."""

    receiver: Receiver
    message_id: str
    body: bytes
    attempts: int
    last: bool
    customer_id: str


class Summary(NamedTuple):
    """A message that stands for many alerts, on its way."""

    receiver: Receiver
    message_id: str
    body: bytes
    attempts: int
    last: bool


class DeliveryAttempt(NamedTuple):
    """One attempt to send a message, and its result."""

    message: Delivery | Summary
    outcome: PostResult

    @property
    def state(self) -> str:
        """The state of the delivery from now on."""
        if self.outcome.delivered:
            return "delivered"
        return "failed" if self.message.last or self.outcome.status == GONE else "waiting"

    @property
    def pause_seconds(self) -> float:
        """The pause until the next attempt."""
        return pause_after(self.message.attempts) if self.state == "waiting" else 0.0


Taken = list[Delivery | Summary]


def take(process: Process, room: Callable[[Receiver], int], templates: Templates) -> Taken:
    """Lease the deliveries that are due, as many as there is room for, and write their messages."""
    connection = process.connection()
    receivers = {receiver.webhook_id: receiver for receiver in list_receivers(connection)}
    admission.admit(connection, list(receivers), process.settings.alerts_per_hour)
    rooms = {webhook_id: free for webhook_id, receiver in receivers.items() if (free := room(receiver))}
    if not rooms:
        return []
    address = process.settings.address
    return [
        *_take_deliveries(connection, receivers, rooms, templates, address),
        *_take_summaries(connection, receivers, rooms, address),
    ]


def end(process: Process, attempts: Sequence[DeliveryAttempt]) -> bool:
    """Save the results of these attempts."""
    connection = process.connection()
    singles = [attempt for attempt in attempts if isinstance(attempt.message, Delivery)]
    with connection.transaction():
        if singles:
            connection.execute(sql("end_attempts"), _columns(singles))
        for attempt in attempts:
            if isinstance(attempt.message, Summary):
                _end_summary(connection, attempt)
    latest = {attempt.message.receiver.webhook_id: attempt.outcome for attempt in attempts}
    gone = {attempt.message.receiver.webhook_id for attempt in attempts if attempt.outcome.status == GONE}
    noted = {
        "webhook_id": list(latest),
        "status": [outcome.status for outcome in latest.values()],
        "gone": [webhook_id in gone for webhook_id in latest],
    }
    connection.execute(sql("note_attempts"), noted)
    return True


def _take_deliveries(
    connection: Connection, receivers: dict[str, Receiver], rooms: dict[str, int], templates: Templates, address: str
) -> Iterator[Delivery]:
    parameters = {"webhook_ids": list(rooms), "rooms": list(rooms.values()), "lease": LEASE_SECONDS}
    for customer_id, alert_id, webhook_id, attempts, last, *columns in connection.execute(
        sql("take_deliveries"), parameters
    ).fetchall():
        receiver, alert = receivers[webhook_id], Alert.from_row(*columns)
        draft = _draft(connection, receiver.account_id, alert, templates)
        body = encode_alert(receiver.format, alert_id, alert, draft, address)
        yield Delivery(receiver, alert_id, body, attempts, last, customer_id)


def _draft(connection: Connection, account_id: int, alert: Alert, templates: Templates) -> Draft:
    """By the account's template, or ours where that one fails."""
    strategy, facts = alert.advice.strategy, alert.advice.facts
    try:
        return write_draft(strategy, facts, time.time(), templates.find(connection, account_id, strategy))
    except TemplateError:
        return write_draft(strategy, facts, time.time())


def _take_summaries(
    connection: Connection, receivers: dict[str, Receiver], rooms: dict[str, int], address: str
) -> Iterator[Summary]:
    parameters = {"webhook_ids": list(rooms), "limit": MOST_SUMMARIES, "lease": LEASE_SECONDS}
    for summary_id, webhook_id, attempts, last, created_at in connection.execute(
        sql("take_summaries"), parameters
    ).fetchall():
        receiver = receivers[webhook_id]
        body = _summary_body(connection, receiver, summary_id, created_at, address)
        if body is None:  # all of its customers are erased
            connection.execute(sql("end_summary"), {"summary_id": summary_id, "state": "delivered", "pause": 0.0})
        else:
            yield Summary(receiver, summary_id, body, attempts, last)


def _summary_body(
    connection: Connection, receiver: Receiver, summary_id: str, at: datetime, address: str
) -> bytes | None:
    rows = connection.execute(sql("summarised"), {"summary_id": summary_id, "limit": HIGHEST}).fetchall()
    if not rows:
        return None
    highest = [Alert.from_row(*columns) for *columns, _ in rows]
    paid = [
        PaidAtLevel(*columns)
        for columns in connection.execute(sql("summarised_money"), {"summary_id": summary_id}).fetchall()
    ]
    return encode_summary(receiver.format, summary_id, at, rows[0][-1], highest, paid, address)


def _end_summary(connection: Connection, attempt: DeliveryAttempt) -> None:
    outcome = attempt.outcome
    parameters = {"summary_id": attempt.message.message_id, "state": attempt.state, "pause": attempt.pause_seconds}
    connection.execute(sql("end_summary"), parameters)
    connection.execute(sql("end_summarised"), {**parameters, "status": outcome.status, "error": outcome.error})


def _columns(attempts: Sequence[DeliveryAttempt]) -> dict[str, list[Any]]:
    messages = [attempt.message for attempt in attempts]
    return {
        "customer_id": [message.customer_id for message in messages if isinstance(message, Delivery)],
        "alert_id": [message.message_id for message in messages],
        "webhook_id": [message.receiver.webhook_id for message in messages],
        "state": [attempt.state for attempt in attempts],
        "status": [attempt.outcome.status for attempt in attempts],
        "error": [attempt.outcome.error for attempt in attempts],
        "pause": [attempt.pause_seconds for attempt in attempts],
    }
