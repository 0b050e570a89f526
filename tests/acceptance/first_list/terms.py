"""A product's history in miniature: who comes every other day, fades, has left, never began, only pays, or is new."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.workers.events import event

STEADY, FADING, LEFT, GHOSTS, PAYERS, DEBTORS, FRESH = 25, 6, 12, 5, 3, 2, 2
KINDS = {
    "steady": STEADY,
    "fading": FADING,
    "left": LEFT,
    "ghost": GHOSTS,
    "payer": PAYERS,
    "debtor": DEBTORS,
    "fresh": FRESH,
}
CUSTOMERS = sum(KINDS.values())
LONG = 220  # days
SHOPPERS, SHOP_DAYS = 80, 200


def address(kind: str, number: int) -> str:
    """The address of a customer: the kind, and a number from 0."""
    return f"{kind}-{number}@{kind}.example.com"


def kind_of(email: str) -> str:
    """The kind of the customer with this address."""
    return email.partition("-")[0]


def list_history(until: datetime | None = None) -> list[dict[str, Any]]:
    """Everything that all of them did up to a moment (now), oldest first."""
    end = until or datetime.now(UTC)
    events = [
        event(**fields, timestamp=(end - timedelta(days=days, minutes=7)).isoformat()) for days, fields in _list_acts()
    ]
    return sorted(events, key=lambda each: str(each["timestamp"]))


def list_shop() -> list[dict[str, Any]]:
    """Visits to a shop, oldest first: customers come on three days in ten, and more than half of them leave."""
    chance, now = random.Random(1), datetime.now(UTC)
    visits: list[tuple[int, int]] = []
    for number in range(SHOPPERS):
        first = SHOP_DAYS - chance.randrange(60)
        last = chance.randrange(5, first) if chance.random() < 0.6 else 0
        visits += [(day, number) for day in range(first, last - 1, -1) if chance.random() < 0.3]
    return [
        event(customer_email=address("shopper", number), timestamp=(now - timedelta(days=day, minutes=9)).isoformat())
        for day, number in sorted(visits, reverse=True)
    ]


def _list_acts() -> Iterator[tuple[float, dict[str, Any]]]:
    """The acts, each with its age in days."""
    for number in range(STEADY):
        yield from _visits("steady", number, 0, LONG, 2)
    for number in range(FADING):
        yield from _visits("fading", number, 8 + number, 120, 1)
    for number in range(LEFT):
        yield from _visits("left", number, 50 + 10 * number, LONG, 1 + number % 2)
    for number in range(GHOSTS):
        yield 60 + number, {"event": "trial_started", "customer_email": address("ghost", number)}
    for number in range(PAYERS):
        yield from _bills("payer", number, 5 + number)
    for number in range(DEBTORS):
        yield from _bills("debtor", number, 130 + number)
    for number in range(FRESH):
        yield 1 + number, {"event": "trial_started", "customer_email": address("fresh", number)}


def _visits(kind: str, number: int, last: int, first: int, step: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Visits every so many days; every second customer says what is paid."""
    pays = {"mrr": 1000 * (number + 1), "currency": "EUR"} if number % 2 else {}
    for day in range(last, first, step):
        name = ("login", "feature_used")[day // step % 2]
        properties = {"feature": "exports", "plan": "pro" if pays else "free", **pays}
        yield day + number / 100, {"event": name, "customer_email": address(kind, number), "properties": properties}


def _bills(kind: str, number: int, last: int) -> Iterator[tuple[float, dict[str, Any]]]:
    for day in range(last, LONG, 30):
        properties = {"amount": 49, "invoice_id": f"{kind}-{number}-{day}"}
        yield day, {"event": "invoice_paid", "customer_email": address(kind, number), "properties": properties}
