"""An account that imports nothing, beside the one that always does: its risks are recorded, so some of them alert."""

import json

from tests.acceptance.chaos.producer import Account, Connection, Request, Sent

CUSTOMERS = 40
QUIET_EVENTS = 3 * CUSTOMERS  # before there is any trouble
TROUBLE = ("invoice_overdue", "refund_requested", "subscription_downgraded", "support_ticket_opened")
PACE_SECONDS = 0.04


class CalmConnection(Connection):
    """Sends live events, one a request, each safe to repeat: first logins, then trouble."""

    def _request(self) -> Request:
        number = next(self._marks)
        mark, name = f"calm.{number}", "login" if number < QUIET_EVENTS else self._chance.choice(TROUBLE)
        event = {
            "event": name,
            "customer_email": f"calm{number % CUSTOMERS}@example.com",
            "event_id": mark,
            "properties": {"mark": mark},
        }
        sent = self.sent[mark] = Sent(event)
        return Request(json.dumps(event).encode(), {"X-API-Key": self.key}, [sent], True)


class CalmAccount(Account[CalmConnection]):
    """Its one connection."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        super().__init__("calm", CalmConnection(0, port, key, seed, PACE_SECONDS))
