"""The track record: as of then, from what had happened by then."""

from dataclasses import replace

import numpy as np
import pytest

from scoring.learning.track_record import LONGEST_DAYS, MOST_BEFORE, TrackRecord, track
from scoring.model import PRIOR
from scoring.pauses import Pause
from scoring.rollup import DAY, Rollup, Row
from scoring.score import risks_at
from tests.scoring.simulator import Kind, simulate
from tests.scoring.world import NOW, logins, rollup

HORIZON = 30


def daily(first: int, last: int, customer: int = 0) -> list[Row]:
    """A login a day, from so many days ago to so many."""
    return logins(*range(last, first), customer=customer)


def record(history: Rollup, now: float = NOW, **options: object) -> TrackRecord:
    return track(history, now, HORIZON, 0.2, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def simulated() -> tuple[Rollup, float]:
    """Half a year of a company in which most come daily and some leave each month."""
    made = simulate(Kind(visits=0.5, monthly_churn=0.12), customers=150, days=180).rollup
    return made, float(made.last_at.max()) + 1


def test_a_customer_has_left_a_horizon_after_the_last_use() -> None:
    """One who came back in time has not; one whose horizon is not over has not yet."""
    left, back, undecided = daily(100, 40), daily(100, 1, customer=1), daily(60, 20, customer=2)
    found = record(rollup(*left, *back, *undecided, customers=3)).departures
    assert found.customer.tolist() == [0]
    last = max(row[6] for row in left)
    assert found.left_at.tolist() == [last + HORIZON * DAY]


def test_the_risk_before_is_that_of_a_score_on_that_day(simulated: tuple[Rollup, float]) -> None:
    """Before any training by the formula; the column is the number of days before."""
    history = rollup(*daily(100, 45))
    found = record(history).departures
    for before in (1, 14, MOST_BEFORE):
        at = found.left_at - before * DAY
        expected, _ = risks_at(history, found.customer, at, HORIZON, PRIOR)
        assert found.risks[:, before - 1] == pytest.approx(expected)


def test_nothing_that_came_later_changes_what_was_known_then(simulated: tuple[Rollup, float]) -> None:
    history, end = simulated
    middle = end - 60 * DAY
    whole, early = record(history, end), record(history, middle)
    known, left = (
        {*zip(found.customer.tolist(), found.left_at.tolist(), strict=True)}
        for found in (whole.departures, early.departures)
    )
    assert len(left) > 5
    assert left <= known
    later = history.last_at > middle
    changed = replace(history, event=np.where(later, history.event.max() - history.event, history.event))
    again = record(changed, middle)
    np.testing.assert_array_equal(again.departures.risks, early.departures.risks)
    assert again.flags.risk.tolist() == early.flags.risk.tolist()


def test_flags_say_who_left_and_who_came_back(simulated: tuple[Rollup, float]) -> None:
    history, end = simulated
    flags = record(history, end).flags
    assert (flags.risk >= 0.2).all()
    left = ~np.isnan(flags.left_at)
    assert left.any()
    assert not left.all()
    assert (flags.left_at[left] > flags.at[left]).all()
    assert (flags.left_at[left] <= end).all()
    rate = left.mean()
    assert left[flags.risk >= 0.5].mean() > rate


def test_who_left_long_ago_is_flagged_no_more() -> None:
    flags = record(rollup(*daily(300, 250))).flags
    assert flags.at.max() < NOW - 200 * DAY


def test_an_outage_says_nothing_of_customers() -> None:
    history = rollup(*daily(100, 45))
    pause = Pause(NOW - 40 * DAY, NOW - 38 * DAY)
    assert len(record(history, pauses=[pause]).departures.customer) == 0


def test_an_empty_account_has_none() -> None:
    found = record(rollup())
    assert found.since is None
    assert len(found.departures.customer) == len(found.flags.customer) == 0
    assert LONGEST_DAYS >= 90
