import numpy as np
import pytest

from scoring.event_roles import Meaning, translate
from scoring.learning.outcomes import at_risk, horizon_of, lapsed_within, snapshots
from scoring.rollup import DAY, Row
from tests.scoring.world import NOW, TODAY, logins, rollup, row

MIDNIGHT = TODAY * DAY


def lapsed(*rows: Row, churn_event: str | None = None) -> bool:
    """True if the only customer lapses in the 30 days after the midnight 40 days before today."""
    at = np.array([MIDNIGHT - 40 * DAY])
    known = translate(rollup(*rows), Meaning(churn=(churn_event,) if churn_event else ()))
    return bool(lapsed_within(known, np.array([0]), at, 30)[0])


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
    other, own = (row("invoice_paid", 20, f"invoice:{number}") for number in (2, 1))
    assert lapsed(*logins(41, 38), row("invoice_overdue", 36, "invoice:1"), other)
    assert not lapsed(*logins(41, 38), row("invoice_overdue", 36, "invoice:1"), other, own)


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


def test_with_too_few_silences_no_horizon_is_known() -> None:
    """From a hundred observed ones on it is; and where even after 90 days more come back, it is the longest."""
    assert horizon_of(rollup(*logins(*range(100, 200, 3))), NOW) is None
    assert horizon_of(rollup(), NOW) is None
    rows = [r for c in range(200) for r in logins(200, 310, customer=c)]
    assert horizon_of(rollup(*rows, customers=200), NOW) == 90


def test_a_young_account_does_not_take_an_open_silence_for_a_final_one() -> None:
    """Customers who come every 40 days: after 45 days nobody has been seen to return, and no horizon is known yet."""
    rows = [r for c in range(200) for r in logins(*range(c % 40, 65, 40), customer=c)]
    assert horizon_of(rollup(*rows, customers=200), NOW) is None
    later = [r for c in range(200) for r in logins(*range(c % 40, 400, 40), customer=c)]
    assert horizon_of(rollup(*later, customers=200), NOW) in (60, 90, None)


def test_where_nobody_logs_in_payments_are_use() -> None:
    """An account that sends invoices alone has customers at risk, outcomes and a horizon."""
    rows = [r for c in range(30) for r in (row("invoice_paid", day, customer=c) for day in range(5 + 6 * c, 400, 30))]
    paying = rollup(*rows, customers=30)
    assert 5 < len(at_risk(paying, MIDNIGHT)) < 30
    lapsed = lapsed_within(paying, np.array([0, 29]), np.array([NOW - 80 * DAY] * 2), 60)
    assert lapsed.tolist() == [0, 1]


def returning(share: float) -> list[Row]:
    """Two hundred customers of whom this share comes back after three weeks, and then no more."""
    back = round(200 * share)
    return [r for c in range(200) for r in logins(*([200, 221] if c < back else [221]), customer=c)]


def test_a_horizon_does_not_change_for_a_trifle() -> None:
    """Near a quarter it stays what it was."""
    near = rollup(*returning(0.3), customers=200)  # 23 % of the silences of over 14 days, most of them final
    assert horizon_of(near, NOW) == 30  # the usual one is what it was
    assert horizon_of(near, NOW, before=30) == 30
    assert horizon_of(near, NOW, before=14) == 14
    assert horizon_of(rollup(*returning(0.37), customers=200), NOW) == 30  # 27 %
    assert horizon_of(rollup(*returning(0.37), customers=200), NOW, before=14) == 14
    assert horizon_of(rollup(*returning(0.1), customers=200), NOW, before=30) == 14
