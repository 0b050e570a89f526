import random

import numpy as np
import pytest

from scoring.history import history_of
from scoring.look_back import LASTING, LOOK_BACK, limit_reach
from scoring.rollup import DAY
from tests.workers.risk.long_histories import IDS, MEANING, NOW, assert_same_scores, put, put_any
from workers.risk import days
from workers.risk.days import read_rollup
from workers.risk.earlier_days import Reach
from workers.store import Connection

REACH = Reach(LOOK_BACK, [], NOW)


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that three rows are many."""
    monkeypatch.setattr(days, "FEW_ROWS", 3)


def test_words_and_numbers_survive_the_reading(connection: Connection) -> None:
    put(connection, 1, "feature_used", 3.25, "Überblick, \\x1f\\n", n=7, value=60.5, plan="pro")
    put(connection, 2, "page viewed", 1.000001, "/a\u2028b")
    found = read_rollup(connection, IDS)
    assert found.customers == 3
    order = np.argsort(found.customer)
    assert found.customer[order].tolist() == [1, 2]
    assert [found.names[code] for code in found.event[order]] == ["feature_used", "page viewed"]
    assert [found.details[code] for code in found.detail[order]] == ["Überblick, \\x1f\\n", "/a\u2028b"]
    assert [found.plans[code] if code >= 0 else None for code in found.plan[order]] == ["pro", None]
    assert (found.n[order].tolist(), found.value[order].tolist()) == ([7, 1], [60.5, 0.0])
    assert found.day[order].tolist() == [int(NOW // DAY) - 3, int(NOW // DAY) - 1]
    assert found.last_at[order] == pytest.approx([NOW - 3.25 * DAY, NOW - 1.000001 * DAY], abs=1e-6)


def test_who_did_nothing_has_no_rows(connection: Connection) -> None:
    for reach in (None, REACH):
        found = read_rollup(connection, IDS, reach=reach)
        assert (found.customers, len(found.day), found.names) == (3, 0, [])


def test_what_is_in_reach_says_what_everything_says(connection: Connection, few_rows: None) -> None:
    """Of years of engagement the last one is read; what lasts, what a model asks for and the first day come along."""
    for day in range(10, 900, 7):
        put(connection, 0, "login", day)
        put(connection, 0, "feature_used", day, "exports", n=3, plan="pro")
        put(connection, 0, "report_shared", day)
    for event, days_ago in (("invoice_overdue", 800), ("support_ticket_opened", 700), ("page_viewed", 1000)):
        put(connection, 0, event, days_ago)
    put(connection, 1, "nps_response", 950, "3")
    put(connection, 1, "page_viewed", 400)
    put(connection, 1, "subscription_downgraded", 2)
    put(connection, 2, "page_viewed", 2)
    asked = ["event:report_shared", "uses:exports"]
    whole = read_rollup(connection, IDS)
    near = read_rollup(connection, IDS, reach=Reach(LOOK_BACK, ["report_shared"], NOW))
    assert len(near.day) == len(limit_reach(whole, ["report_shared"]).day) + 3, "the first day, and the first of use"
    assert len(near.day) < len(whole.day)
    one, two = history_of(whole, NOW, asked), history_of(near, NOW, asked)
    for name in (
        "first",
        "began",
        "seen",
        "last_active",
        "active",
        "cadence",
        "breadth",
        "overdue",
        "open_tickets",
        "nps",
        "active_days",
    ):
        assert getattr(one, name) == pytest.approx(getattr(two, name), nan_ok=True), name
    assert one.asked["uses:exports"] == pytest.approx(two.asked["uses:exports"])
    assert one.signals["report_shared"].frozen == pytest.approx(two.signals["report_shared"].frozen)


def test_everything_recognised_that_is_no_engagement_lasts() -> None:
    assert {"login", "feature_used"}.isdisjoint(LASTING)
    assert len(LASTING) == 12, "and what means churn"


def test_of_a_customer_with_too_many_rows_the_latest_days_are_read(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot that opens another page each time takes no more of a score than a busy person; others lose nothing."""
    for n in range(30):
        put(connection, 0, "page viewed", 700 - n, f"/{n}")
        put(connection, 1, "login", 30 - n)
    monkeypatch.setattr(days, "MOST_ROWS", 20)
    for reach in (None, REACH):
        found = read_rollup(connection, IDS, reach=reach)
        robot = found.day[found.customer == 0]
        assert len(robot) <= 21
        assert robot.max() == NOW // DAY - 671
        assert (found.customer == 1).sum() == 20


@pytest.mark.parametrize("seed", range(12))
def test_a_long_history_has_the_scores_that_all_its_rows_have(
    connection: Connection, few_rows: None, seed: int
) -> None:
    """Whatever happened in which order, and at every instant from which on a risk is asked for."""
    put_any(connection, random.Random(seed))
    since = NOW - 28 * DAY
    whole = read_rollup(connection, IDS, MEANING)
    near = read_rollup(connection, IDS, MEANING, Reach(LOOK_BACK + 28, ["asked_for"], since))
    assert_same_scores(whole, near, NOW, NOW - 14 * DAY, since)


def test_old_days_of_events_without_a_role_are_not_read(connection: Connection, few_rows: None) -> None:
    for day in range(10, 300):
        put(connection, 0, "page_viewed", day, plan="pro")
        put(connection, 0, "login", day)
    near = read_rollup(connection, IDS, reach=Reach(LOOK_BACK, [], NOW - 28 * DAY))
    counts = {name: int(near.of([name]).sum()) for name in near.names}
    assert counts == {"login": 290, "page_viewed": 19 + 2}, "those of the last days, the last one before, the first one"
