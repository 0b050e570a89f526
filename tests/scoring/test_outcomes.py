import numpy as np
import pytest

from scoring.outcomes import at_risk, horizon_of, lapsed_within, snapshots
from scoring.rollup import DAY, Row

from .world import NOW, TODAY, logins, rollup, row

MIDNIGHT = TODAY * DAY


def lapsed(*rows: Row, churn_event: str | None = None) -> bool:
    """Whether the only customer lapses in the 30 days after the midnight 40 days before today."""
    at = np.array([MIDNIGHT - 40 * DAY])
    return bool(lapsed_within(rollup(*rows), np.array([0]), at, 30, churn_event)[0])


def test_silence_is_a_lapse_and_any_engagement_is_none() -> None:
    """Only login and feature_used count as coming back."""
    assert lapsed(*logins(41, 45))
    assert lapsed(*logins(41, 45), row("invoice_paid", 20), row("report_shared", 20))
    assert not lapsed(*logins(41, 45, 15))
    assert not lapsed(*logins(41, 45), row("feature_used", 38))
    assert lapsed(*logins(41, 45, 5))


def test_a_trial_that_ended_without_a_payment_is_a_lapse() -> None:
    """Fourteen days after its end, unless the customer was seen after that."""
    paying = row("invoice_paid", 300)
    assert lapsed(paying, *logins(41, 38), row("trial_ended", 36))
    assert not lapsed(paying, *logins(41, 38), row("trial_ended", 36), row("subscription_renewed", 30))
    assert not lapsed(paying, *logins(41, 38, 15), row("trial_ended", 36))
    assert not lapsed(*logins(41, 38), row("trial_ended", 36))


def test_an_invoice_nobody_pays_or_comes_for_is_a_lapse() -> None:
    """Overdue for 21 days without a payment or a login since."""
    assert lapsed(*logins(41, 38), row("invoice_overdue", 36))
    assert not lapsed(*logins(41, 38), row("invoice_overdue", 36), row("invoice_paid", 20))
    assert not lapsed(*logins(41, 38, 30), row("invoice_overdue", 36))


def test_silence_after_a_refund_request_is_a_lapse() -> None:
    """Fourteen days of it."""
    assert lapsed(*logins(41, 38), row("refund_requested", 36))
    assert not lapsed(*logins(41, 38, 30), row("refund_requested", 36))


def test_an_account_may_name_its_own_end() -> None:
    """Its event is a lapse whatever else happens."""
    assert lapsed(*logins(41, 30, 20), row("account_closed", 25), churn_event="account_closed")
    assert not lapsed(*logins(41, 30, 20), row("account_closed", 25))


def test_at_risk_are_those_whose_silence_is_still_usual() -> None:
    """Not who has lapsed already, nor who never came."""
    world = rollup(
        *logins(3, 5),
        *logins(20, 22, customer=1),
        *logins(20, 40, customer=2),
        row("trial_started", 2, customer=3),
        customers=4,
    )
    assert at_risk(world, NOW).tolist() == [0, 2]


def test_snapshots_lie_at_midnights_whose_outcome_is_settled() -> None:
    """Three days after the end of the horizon, every 15 days back from there, and none over an outage."""
    world = rollup(*logins(*range(120)))
    who, at = snapshots(world, NOW, 30)
    assert set(who.tolist()) == {0}
    assert (at % DAY == 0).all()
    assert at.max() == MIDNIGHT - 33 * DAY
    assert np.diff(at).tolist() == [15 * DAY] * (len(at) - 1)
    outage = (NOW - 50 * DAY, NOW - 48 * DAY)
    kept = snapshots(world, NOW, 30, pauses=[outage])[1]
    assert all(t + 30 * DAY <= outage[0] or t >= outage[1] for t in kept)
    assert 0 < len(kept) < len(at)


@pytest.mark.parametrize(("gap", "horizon"), [(3, 14), (20, 30), (45, 60)])
def test_the_horizon_is_the_shortest_silence_that_few_return_from(gap: int, horizon: int) -> None:
    """Two hundred customers with this gap between visits, all gone for good half a year ago."""
    rows = [r for c in range(200) for r in logins(*range(180, 360, gap), customer=c)]
    assert horizon_of(rollup(*rows, customers=200), NOW) == horizon


def test_with_too_few_silences_the_horizon_is_the_usual_one() -> None:
    """30 days until a hundred silences were observed."""
    assert horizon_of(rollup(*logins(*range(100, 200, 3))), NOW) == 30
    assert horizon_of(rollup(), NOW) == 30
