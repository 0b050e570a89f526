"""A believable stream: some thousand customers, a few events each a day, in the order in which they happened."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

CUSTOMERS = 5_000
DAYS = 7
BATCH = 100

PLANS = ("free", "pro", "team")
FEATURES = ("exports", "reports", "dashboards", "imports", "alerts", "sharing")
PAGES = ("/home", "/reports", "/settings", "/billing")


def email(customer: int) -> str:
    """The address of a customer, by number."""
    return f"customer{customer}@company{customer % 700}.example.com"


def events(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """As producers send them, oldest first, over the last days up to now."""
    chance = random.Random(seed)
    now = datetime.now(UTC)
    ages = sorted((chance.uniform(0, DAYS * 86_400) for _ in range(count)), reverse=True)
    return [_event(chance, now - timedelta(seconds=age)) for age in ages]


def bodies(sent: Sequence[dict[str, Any]], batch: int) -> list[bytes]:
    """The events as the bodies of requests: one each, or that many."""
    if batch == 1:
        return [msgspec.json.encode(event) for event in sent]
    return [msgspec.json.encode({"events": sent[at : at + batch]}) for at in range(0, len(sent), batch)]


def _event(chance: random.Random, at: datetime) -> dict[str, Any]:
    customer = chance.randrange(CUSTOMERS)
    name = chance.choices(("feature_used", "login", "page_viewed", "support_ticket_opened"), (60, 25, 12, 3))[0]
    return {
        "event": name,
        "customer_email": email(customer),
        "properties": _properties(chance, name, PLANS[customer % len(PLANS)]),
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _properties(chance: random.Random, name: str, plan: str) -> dict[str, Any]:
    if name == "feature_used":
        return {"feature": chance.choice(FEATURES), "plan": plan}
    if name == "page_viewed":
        return {"page": chance.choice(PAGES), "duration_seconds": chance.randrange(300)}
    return {"plan": plan}
