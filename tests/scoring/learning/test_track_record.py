"""The track record: as of then, from what had happened by then."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from scoring.events import CHURNED
from scoring.learning.departures import MOST_BEFORE
from scoring.learning.past_models import learn_past_models
from scoring.learning.track_record import LONGEST_DAYS, TrackRecordSource, track
from scoring.model import PRIOR
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup, Row
from scoring.score import risks_at
from tests.scoring.simulator import Kind, simulate
from tests.scoring.world import NOW, logins, rollup, row

HORIZON = 30


def daily(first: int, last: int, customer: int = 0) -> list[Row]:
    """A login a day, from so many days ago to so many."""
    return logins(*range(last, first), customer=customer)


def days_ago(at: Floats) -> list[float]:
    return [float(days) for days in (NOW - at) / DAY]


class Precision(NamedTuple):
    """Of one list: how often flags were right, how often any line would have been, and the standard error."""

    flagged: float
    base_rate: float
    error: float


def precision(history: Rollup, end: float) -> Precision:
    """Of the last list whose outcome is known."""
    everybody = track(history, end, HORIZON, 0.0).flags
    last = everybody.at == everybody.at.max()
    left, risk = everybody.left[last], everybody.risk[last]
    base_rate = float(left.mean())
    flags = left[risk >= 0.2]
    return Precision(float(flags.mean()), base_rate, (base_rate * (1 - base_rate) / len(flags)) ** 0.5)


def swap_futures(history: Rollup, at: float) -> Rollup:
    """The history in which everybody goes on after an instant as another customer, drawn by lot."""
    lot = np.random.default_rng(3).permutation(history.customers).astype(np.int32)
    later = history.last_at > at
    return replace(history, customer=np.where(later, lot[history.customer], history.customer))


def record(history: Rollup, now: float = NOW, **options: object) -> TrackRecordSource:
    return track(history, now, HORIZON, 0.2, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def simulated() -> tuple[Rollup, float]:
    """Half a year of a company in which most come daily and some leave each month."""
    made = simulate(Kind(visits=0.5, monthly_churn=0.12), customers=150, days=180).rollup
    return made, float(made.last_at.max()) + 1


def test_the_answer_of_a_history_that_is_known_by_hand() -> None:
    """Five customers who came daily. Lists were made 30.5, 37.5, 44.5 … days ago; 14 days of silence are a lapse, and
    over seven of them a risk of 20 %.

    0 stopped 50 days ago. 1 never did. 2 was away from 49 to 36 days ago: less than a lapse. 3 was away from 80 to 59
    days ago: lapsed, and back within the horizon. 4 stopped 20 days ago: lapsed, and nobody knows yet.
    """
    rows = [
        *daily(200, 50),
        *daily(200, 1, customer=1),
        *daily(200, 49, customer=2),
        *daily(37, 1, customer=2),
        *daily(200, 80, customer=3),
        *daily(60, 1, customer=3),
        *daily(200, 20, customer=4),
    ]
    departures = track(rollup(*rows, customers=5), NOW, HORIZON, 0.2)
    gone = departures.departures
    outcome = dict(zip(gone.customer.tolist(), gone.stayed_away.tolist(), strict=True))
    assert outcome[0] == 1.0
    assert outcome[3] == 0.0
    assert np.isnan(outcome[4])
    assert sorted(outcome) == [0, 3, 4]
    assert days_ago(gone.left_at[gone.customer == 0]) == pytest.approx([50 - 14])
    customer, at, _, left = departures.flags
    known = at > NOW - 150 * DAY  # before, they are all newcomers
    flagged = zip(customer[known].tolist(), days_ago(at[known]), left[known].tolist(), strict=True)
    assert sorted(flagged) == [(0, 37.5, True), (2, 37.5, False), (3, 72.5, False)]


def test_shuffled_outcomes_look_bad(simulated: tuple[Rollup, float]) -> None:
    """After a list, everybody goes on as somebody else: flags are then as often right as any line of the list."""
    history, end = simulated
    at = (end // DAY - HORIZON) * DAY
    mixed = swap_futures(history, at)
    true, false = (precision(some, end) for some in (history, mixed))
    assert true.flagged > 2 * true.base_rate
    assert abs(false.flagged - false.base_rate) < 3 * false.error
    assert true.flagged - false.flagged > 3 * false.error


def test_an_event_that_means_churn_is_a_departure_at_once() -> None:
    departures = record(rollup(*daily(100, 40), row(CHURNED, 39.5))).departures
    assert (days_ago(departures.left_at), departures.stayed_away.tolist()) == ([39.5], [1.0])


def test_the_risk_before_is_that_of_a_score_on_that_day(simulated: tuple[Rollup, float]) -> None:
    """Before any training by the formula; the column is the number of days before."""
    history = rollup(*daily(100, 45))
    departures = record(history).departures
    for before in (1, 14, MOST_BEFORE):
        at = (np.ceil(departures.left_at / DAY) - before) * DAY
        expected, _ = risks_at(history, departures.customer, at, HORIZON, PRIOR)
        assert departures.risks[:, before - 1] == pytest.approx(expected)


def test_nothing_that_came_later_changes_what_was_known_then(simulated: tuple[Rollup, float]) -> None:
    history, end = simulated
    middle = end - 60 * DAY
    whole, early = record(history, end), record(history, middle)
    known, left = (
        {*zip(departures.customer.tolist(), departures.left_at.tolist(), strict=True)}
        for departures in (whole.departures, early.departures)
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
    assert flags.left.any()
    assert not flags.left.all()
    assert flags.at.max() <= end - HORIZON * DAY
    assert flags.left[flags.risk >= 0.5].mean() > flags.left.mean()


def test_who_left_long_ago_is_flagged_no_more() -> None:
    flags = record(rollup(*daily(300, 250))).flags
    assert flags.at.max() < NOW - 200 * DAY


def test_an_outage_says_nothing_of_customers() -> None:
    history = rollup(*daily(100, 45))
    early, late = Pause(NOW - 40 * DAY, NOW - 38 * DAY), Pause(NOW - 25 * DAY, NOW - 24 * DAY)
    assert len(record(history, pauses=[early]).departures.customer) == 0
    assert np.isnan(record(history, pauses=[late]).departures.stayed_away).all()


def test_a_model_is_learnt_only_where_something_became_known(simulated: tuple[Rollup, float]) -> None:
    """Long after the last event the models stay, and so do their answers."""
    history, end = simulated
    later = end + 400 * DAY
    learnt = learn_past_models(history, end - 60 * DAY, later, HORIZON, (), lambda: None)
    assert len(learnt.models) == len(learnt.boundaries) + 1 > 4
    assert learnt.models[-1] is learnt.models[-2] is learnt.models[-3]
    assert learnt.models[-1] != PRIOR


def test_the_order_of_rows_says_nothing(simulated: tuple[Rollup, float]) -> None:
    rollup, now = simulated
    shuffled = rollup.where(np.random.default_rng(1).permutation(len(rollup.day)))
    first, second = (track(rows, now, HORIZON, 0.2) for rows in (rollup, shuffled))
    for one, other in zip([*first.departures, *first.flags], [*second.departures, *second.flags], strict=True):
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=1e-6)
    assert first.months == second.months


def test_an_empty_account_has_none() -> None:
    departures = record(rollup())
    assert departures.since is None
    assert len(departures.departures.customer) == len(departures.flags.customer) == 0
    assert LONGEST_DAYS >= 90
