import numpy as np
import pytest
from hypothesis import given

from scoring.history import history_of
from scoring.look_back import LOOK_BACK, limit_reach
from scoring.rollup import Row
from scoring.score import ACTIVE, score
from tests.scoring.world import NOW, any_rows, logins, rollup, row


def test_engagement_of_years_ago_is_not_looked_at() -> None:
    """A year before the last day of it is where a risk stops reading, whatever lies beyond."""
    years = rollup(*logins(*range(2, 4000)))
    assert len(limit_reach(years).day) == LOOK_BACK + 1
    assert limit_reach(rollup(*logins(*range(2, 300)))).customers == 1


def test_a_long_history_is_worth_no_less_than_a_shorter_one() -> None:
    """Its clock stops where its counts do: ten years of the same habit say what two years of it say."""
    two, ten = (score(rollup(*logins(*range(5, days, 3))), NOW).probability[0] for days in (730, 3650))
    assert ten == pytest.approx(two, rel=1e-6)


def test_what_is_open_stays_in_reach() -> None:
    """An invoice and an answer of three years ago are still what they are; a ticket counts for 90 days of use."""
    old = [row("support_ticket_opened", 1000), row("invoice_overdue", 1000), row("nps_response", 1000, "3")]
    scores = score(rollup(*old, *logins(*range(0, 1200))), NOW)
    assert (scores.open_tickets, scores.nps) == ([0], [3])
    assert score(rollup(*old, *logins(*range(950, 1200))), NOW).open_tickets == [1]
    assert scores.overdue_since[0] == pytest.approx(old[1][6])


def test_a_year_after_the_first_event_without_engagement_it_is_looked_at_from_the_last() -> None:
    """A customer who never logs in has no last engagement to count from."""
    assert len(limit_reach(rollup(*(row("page_viewed", day) for day in range(1000)))).day) == LOOK_BACK + 1


def test_a_complaint_does_not_move_what_is_in_reach() -> None:
    """The last sign of life of who never logged in stays known, however long ago it was."""
    alone = [row("report_shared", LOOK_BACK + 5)]
    complained = [*alone, row("subscription_downgraded", 0)]
    assert len(limit_reach(rollup(*complained)).day) == 2
    assert score(rollup(*complained), NOW).probability[0] >= score(rollup(*alone), NOW).probability[0]


def test_an_event_that_is_asked_for_has_no_bound() -> None:
    rows = [*logins(*range(0, 1200)), row("report_shared", 900)]
    assert history_of(rollup(*rows), NOW, ["event:report_shared"]).signals["report_shared"].last == [rows[-1][6]]
    assert len(limit_reach(rollup(*rows)).day) == LOOK_BACK + 1


def test_the_year_is_said() -> None:
    """ "In all" would be wrong where older days are not counted."""
    rows = logins(*range(40, 1000))
    scores = score(rollup(*rows), NOW)
    assert "Active on 366 days in the year up to 6 May" in [reason.text for reason in scores.reasons[0]]
    assert scores.state[0] != ACTIVE


@given(any_rows)
def test_reach_is_the_same_from_what_is_in_reach(rows: list[Row]) -> None:
    """Reading only what is in reach, and the first event, gives the same history."""
    whole = rollup(*rows, customers=3).until(NOW)
    first = np.full(3, np.inf)
    np.minimum.at(first, whole.customer, whole.last_at)
    near = limit_reach(whole)
    kept = set(zip(near.customer.tolist(), near.last_at.tolist(), strict=True))
    some = [each for each in rows if (each[0], each[6]) in kept or each[6] == first[each[0]]]
    one, two = history_of(whole, NOW), history_of(rollup(*some, customers=3), NOW)
    assert np.array_equal(one.active, two.active)
    assert np.array_equal(one.first, two.first, equal_nan=True)
    assert np.array_equal(one.breadth, two.breadth)
