from scoring.reasons import Reason
from scoring.rollup import Row
from scoring.score import score
from tests.scoring.world import NOW, logins, rollup, row


def reasons(*rows: Row) -> dict[str, Reason]:
    return {reason.signal: reason for reason in score(rollup(*rows), NOW).reasons[0]}


def test_silence_is_said_in_days() -> None:
    """A silent customer's reason counts the days since the last login."""
    text = reasons(*logins(*range(12, 60)))["silence"]
    assert text.text == "No login for 12 days"
    assert text.points > 0


def test_without_logins_silence_is_said_of_any_activity() -> None:
    """A customer who is tracked by features alone never logs in, and is not blamed for it."""
    assert reasons(*(row("feature_used", day) for day in range(12, 60)))["silence"].text == "No activity for 12 days"


def test_an_overdue_invoice_is_said_with_its_date() -> None:
    """The date is the day it became overdue, with the year where it isn't this one."""
    assert reasons(*logins(1, 9), row("invoice_overdue", 43))["invoice_overdue"].text == "Invoice overdue since 3 May"
    old = reasons(*logins(409, 415), row("invoice_overdue", 408))["invoice_overdue"]
    assert old.text == "Invoice overdue since 3 May 2025"


def test_activity_lowers_the_risk_and_is_said_as_a_share_of_the_month() -> None:
    """A good sign is a reason too, with negative points."""
    text = reasons(*logins(*range(0, 60, 2)))["activity"]
    assert text.text == "Active on 15 of the last 30 days"
    assert text.points < 0


def test_a_customer_who_never_came_is_told_so() -> None:
    """Before the first engagement there is no last login to count from."""
    assert reasons(row("trial_started", 20))["silence"].text == "No login yet, 20 days after the first event"


def test_reasons_that_raise_the_risk_come_first_and_the_largest_of_them_leads() -> None:
    """At most three up, then at most three down, each by size."""
    rows = [*logins(*range(9, 60)), row("invoice_overdue", 20), row("refund_requested", 3), row("nps_response", 4, "2")]
    listed = score(rollup(*rows, row("subscription_downgraded", 5)), NOW).reasons[0]
    up = [reason.points for reason in listed if reason.points > 0]
    down = [reason.points for reason in listed if reason.points < 0]
    assert len(up) == 3
    assert [reason.points for reason in listed] == up + down
    assert up == sorted(up, reverse=True)
    assert down == sorted(down)
