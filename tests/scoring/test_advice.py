import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.advice import _RULES, Advice, _find_rules
from scoring.facts import facts_of
from scoring.history import history_of
from scoring.rollup import Row
from scoring.score import score
from tests.scoring.world import NOW, any_rows, logins, rollup, row

LOYAL = logins(*range(0, 60, 2))
FADING = logins(13, 40, 41, 42)
RARER = [*logins(6, 12, 20, 21, 22), row("subscription_downgraded", 35)]


def advice(*rows: Row) -> Advice:
    return score(rollup(*rows), NOW).advice[0]


@pytest.mark.parametrize(
    ("strategy", "urgency", "rows"),
    [
        ("none", "none", []),
        ("none", "none", LOYAL),
        ("payment_recovery", "medium", [*LOYAL, row("invoice_overdue", 3), row("nps_response", 3, "2")]),
        ("payment_recovery", "high", [*LOYAL, row("invoice_overdue", 3), row("refund_requested", 3)]),
        ("payment_recovery", "high", [*LOYAL, row("invoice_overdue", 8)]),
        ("refund_rescue", "high", [*LOYAL, row("refund_requested", 3), row("support_ticket_opened", 4)]),
        ("support_follow_up", "low", [*LOYAL, row("support_ticket_opened", 3)]),
        ("support_follow_up", "medium", [*LOYAL, row("support_ticket_opened", 8)]),
        ("none", "none", [*LOYAL, row("support_ticket_opened", 1)]),
        ("detractor_outreach", "medium", [*LOYAL, row("nps_response", 8, "6")]),
        ("none", "none", [*LOYAL, row("nps_response", 8, "7")]),
        ("downgrade_rescue", "medium", [*LOYAL, row("subscription_downgraded", 8)]),
        ("none", "none", [*LOYAL, row("subscription_downgraded", 8), row("subscription_upgraded", 7)]),
        ("onboarding_help", "medium", [row("trial_started", 2)]),
        ("onboarding_help", "high", logins(13)),
        ("onboarding_help", "medium", logins(2)),
        ("none", "none", [*LOYAL, row("trial_ended", 6), row("invoice_paid", 5)]),
        ("trial_conversion", "high", [*LOYAL, row("trial_ended", 6)]),
        ("trial_conversion", "high", [*LOYAL, row("trial_ended", 2), row("invoice_paid", 60)]),
        ("downgrade_rescue", "high", [*LOYAL, row("subscription_downgraded", 8, plan="free")]),
        ("re_engagement", "medium", logins(*range(20, 60), 70)),
        ("none", "none", logins(*range(1, 300, 30))),
        ("re_engagement", "low", [row("trial_started", 200)]),
        ("feature_win_back", "medium", [*RARER, row("feature_used", 22, "exports")]),
        ("re_engagement", "medium", [*FADING, row("feature_used", 40, "exports")]),
        ("re_engagement", "medium", FADING),
        ("re_engagement", "medium", logins(40, 45)),
    ],
)
def test_the_first_strategy_that_fits_is_advised(strategy: str, urgency: str, rows: list[Row]) -> None:
    """One case for each line of the table, and one just beside it."""
    brought = advice(*rows)
    assert (brought.strategy, brought.urgency) == (strategy, urgency)


def test_advice_brings_the_facts_to_write_with() -> None:
    """Only what is known is there, and the reason names dates and numbers."""
    brought = advice(*FADING, row("feature_used", 50, "exports", n=3, plan="pro"), row("invoice_overdue", 10))
    assert brought.why == "Invoice overdue since 5 Jun"
    assert brought.facts == {
        "plan": "pro",
        "favourite_feature": "exports",
        "favourite_last_used": "2026-04-26T12:00:00Z",
        "last_active": "2026-06-02T12:00:00Z",
        "overdue_since": "2026-06-05T12:00:00Z",
    }


@given(st.lists(any_rows, min_size=1, max_size=4))
def test_no_strategy_fits_a_customer_who_is_not_asked(worlds: list[list[Row]]) -> None:
    """The short cuts give what the whole table gives."""
    for rows in worlds:
        known = rollup(*rows, *logins(*range(30)), customers=3).until(NOW)
        history, horizons = history_of(known, NOW), np.full(3, 30.0)
        for about in facts_of(history, known, ["active"] * 3, NOW, horizons):
            for at_risk in (False, True):
                asked = _find_rules(about, at_risk)
                assert not any(rule(about, at_risk) for rule in _RULES if rule not in asked)
