"""Customers with long histories, in the table of daily counts."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from scoring.event_roles import Meaning
from scoring.events import RECOGNISED
from scoring.group_by import by_owner
from scoring.model import PRIOR, Term
from scoring.rollup import DAY, Rollup
from scoring.score import score
from workers.store import Connection

IDS = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(3)]
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC).timestamp()
MEANING = Meaning(("report_opened",), ("left",), {"bill_paid": "invoice_paid", "survey": "nps_response"})
ROLES = (*RECOGNISED, "report_opened", "left", "bill_paid", "survey", "asked_for")
PLAIN_NAMES = ("page_viewed", "exported", "clicked")
ASKED = ("event:asked_for", "uses:a", "plan:pro", "breadth", "beyond", "signs")


def put(connection: Connection, customer: int, event: str, days_ago: float, detail: str = "", **rest: Any) -> None:
    """Count an event."""
    at = datetime.fromtimestamp(NOW - days_ago * DAY, UTC)
    values = [IDS[customer], at.date(), event, detail, rest.get("n", 1), rest.get("value", 0.0), at, rest.get("plan")]
    connection.execute(
        "INSERT INTO customer_days VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", values
    )


def put_any(connection: Connection, chance: random.Random, counts: Callable[[float], bool] = lambda ago: True) -> None:
    """Count events of all kinds of all customers, of the days ago that count."""
    for customer in range(len(IDS)):
        names = chance.sample(ROLES, chance.randint(0, 5)) + chance.sample(PLAIN_NAMES, chance.randint(0, 3))
        last, span = chance.choice((0.6, 20, 200)), chance.choice((40, 300, 900))
        rows = {}
        for _ in range(chance.randint(0, 60) if names else 0):
            ago, name = last + span * chance.random() ** 2, chance.choice(names)
            detail = chance.choice(("", "a", "b", "9"))
            rows[int((NOW - ago * DAY) // DAY), name, detail] = ago
        for (_, name, detail), ago in rows.items():
            numbers = {"n": chance.randint(1, 60), "value": chance.choice((0, 9))}
            plan = chance.choice((None, None, None, "pro", "free"))
            if counts(ago):
                put(connection, customer, name, ago, detail, plan=plan, **numbers)


def assert_same_scores(whole: Rollup, near: Rollup, *instants: float) -> None:
    """Both rollups give the same scores at these instants, and the same first and last events."""
    model = msgspec.structs.replace(PRIOR, terms=(*PRIOR.terms, *(Term(feature, (0.1,)) for feature in ASKED)))
    for instant in instants:
        all_scores, near_scores = score(whole, instant, model=model), score(near, instant, model=model)
        for name in ("probability", "contributions", "state", "level", "next_due", "horizon_days", "low_confidence"):
            assert getattr(all_scores, name) == pytest.approx(getattr(near_scores, name), nan_ok=True, rel=1e-12), name
        for name in ("reasons", "advice", "plan", "open_tickets", "overdue_since", "nps", "lapsed_at"):
            assert getattr(all_scores, name) == getattr(near_scores, name), name
        for extreme in (np.maximum, np.minimum):
            one, two = (
                by_owner(extreme, rows.customer, rows.last_at, len(IDS))
                for rows in (whole.until(instant), near.until(instant))
            )
            assert np.array_equal(one, two, equal_nan=True)
