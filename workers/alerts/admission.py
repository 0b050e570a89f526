"""The cap: so many alerts an hour go to a webhook one by one; the rest of the hour is one message.

That message waits a moment for more of the same storm to join it. There is one an hour at most.
"""

from collections.abc import Sequence

from workers.alerts.webhooks import list_receivers
from workers.process import Process
from workers.store import Connection, only_row, sql

GATHER_SECONDS = 5.0  # after an alert joined it
LONGEST_SECONDS = 60.0


def admit(connection: Connection, webhook_ids: Sequence[str], per_hour: int) -> None:
    """Let new alerts through to their webhooks, up to the cap; those above it join a summary."""
    asked = {"webhook_ids": list(webhook_ids)}
    for (webhook_id,) in connection.execute(sql("webhooks_to_admit"), asked).fetchall():
        _admit(connection, webhook_id, per_hour)


def is_any_due(process: Process) -> bool:
    """Returns True if a message may be sent now."""
    connection = process.connection()
    webhook_ids = [receiver.webhook_id for receiver in list_receivers(connection)]
    (is_due,) = only_row(connection.execute(sql("any_delivery_due"), {"webhook_ids": webhook_ids}))
    return bool(is_due)


def _admit(connection: Connection, webhook_id: str, per_hour: int) -> None:
    parameters = {"webhook_id": webhook_id, "cap": per_hour, "gather": GATHER_SECONDS, "longest": LONGEST_SECONDS}
    with connection.transaction():
        if connection.execute(sql("lock_webhook"), parameters).fetchone() is None:
            return  # another worker does it
        connection.execute(sql("admit"), parameters)
        if only_row(connection.execute(sql("has_room"), parameters))[0]:
            return
        if not connection.execute(sql("webhooks_to_admit"), {"webhook_ids": [webhook_id]}).fetchone():
            return
        row = connection.execute(sql("gather_summary"), parameters).fetchone()
        assert row
        connection.execute(sql("join_summary"), {**parameters, "summary_id": row[0]})
