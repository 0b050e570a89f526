"""Customers whose risk rises, for the tests of alerts."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from scoring.advice import Advice
from scoring.levels import LevelBounds
from scoring.reasons import Reason
from workers.alerts import outbox
from workers.alerts.outbox import Rise
from workers.buffer.entries import hash_customer
from workers.store import Connection

ADVICE = Advice("re_engagement", "high", "No activity for 12 days", {"last_active": "2025-11-01T10:00:00Z"})
REASONS = [Reason("silence", 21.4, "No login for 12 days")]


def add_customer(connection: Connection, account_id: int, email: str) -> str:
    """Stores and scores a customer. Returns the id."""
    customer_id = hash_customer(account_id, email)
    connection.execute(
        """
        INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, scored_at)
        VALUES (%s, %s, %s, now() - interval '90 days', now(), now() + interval '1 day', now())
        ON CONFLICT DO NOTHING
        """,
        [customer_id, account_id, email],
    )
    return customer_id


def rise(
    connection: Connection, account_id: int, email: str, before: str = "medium", level: str = "high",
    probability: float = 0.63, before_at: float = 1_760_000_000.0,
) -> Rise:  # fmt: skip
    """That this customer's level rose."""
    customer_id = add_customer(connection, account_id, email)
    return Rise(customer_id, before, before_at, level, probability, REASONS, ADVICE)


def alert(connection: Connection, account_id: int, rises: Sequence[Rise], at: float | None = None) -> int:
    """Write the alerts of these rises; returns how many deliveries wait."""
    with connection.transaction():
        return outbox.write(connection, account_id, rises, at or time.time(), 30, LevelBounds())


def note_risk(connection: Connection, customer_id: str, at: float, level: str, probability: float = 0.5) -> None:
    """A risk as it was recorded."""
    connection.execute(
        """
        INSERT INTO risk_history (customer_id, at, probability, level, state, model, horizon_days)
        VALUES (%s, %s, %s, %s, 'active', 'prior-1', 30)
        """,
        [customer_id, datetime.fromtimestamp(at, UTC), probability, level],
    )
