import numpy as np
import pytest

from scoring.features import BACK_BY, own_horizons
from scoring.history import history_of
from scoring.learning.fit import fit_regression
from scoring.learning.samples import Sample, sample
from scoring.model import PRIOR
from scoring.rhythm import BILLED, MOST, Rhythm, measure_rhythm, warp
from scoring.rollup import DAY
from scoring.score import STATES, score
from tests.scoring.world import NOW, logins, rollup, row


def rhythm_of(*gaps: int, billed: bool = False) -> Rhythm:
    return measure_rhythm(
        np.zeros(len(gaps), np.int64), np.array(gaps, np.int64), np.array([np.median(gaps)]), np.array([billed])
    )


def test_a_bill_by_the_month_is_a_clock_and_visits_by_chance_are_none() -> None:
    chance = np.random.default_rng(1).exponential(30, 400).astype(int) + 1
    assert rhythm_of(*[30, 31, 30, 28, 31, 30, 31, 30, 31, 30] * 3).shape == [MOST]
    assert rhythm_of(*chance.tolist()).shape == pytest.approx(1.0, abs=0.2)


def test_few_gaps_prove_little() -> None:
    """A single gap proves nothing, two equal ones a little, a year of them much."""
    shapes = [rhythm_of(*[30] * gaps).shape[0] for gaps in (1, 2, 4, 12)]
    assert shapes[0] == 1.0
    assert shapes == sorted(shapes)
    assert shapes[1] < 2.5 < shapes[3]


def test_bills_are_a_clock_until_their_own_gaps_say_otherwise() -> None:
    """Who only buys now and then pays by chance: a shop that sends nothing but payments."""
    chance = np.random.default_rng(1).exponential(30, 60).astype(int) + 1
    assert rhythm_of(30, billed=True).shape == rhythm_of(*[30] * 12, billed=True).shape == [BILLED]
    assert rhythm_of(*chance.tolist(), billed=True).shape[0] < 1.4


def test_a_first_bill_tells_nothing_before_the_second_is_due_and_much_after() -> None:
    risks = [float(score(rollup(row("invoice_paid", days)), NOW).probability[0]) for days in (1, 20, 36)]
    assert risks[1] < risks[0] + 0.1
    assert risks[2] > risks[1] + 0.4


def test_a_mean_gap_is_as_long_by_chance_as_by_a_clock() -> None:
    """As many visits are due in a long time, whatever the regularity; few right after a visit, by a clock."""
    gap, shape = np.full(4, 30.0), np.array([1.0, 2.0, 3.0, 4.0])
    early = warp(np.full(4, 10.0), gap, shape)
    assert early[0] == pytest.approx(10.0)
    assert (np.diff(early) < 0).all()


def regular(every: int, last: float, customer: int = 0) -> list[float]:
    return [last + every * k for k in range(12)]


def test_on_time_is_safe_and_late_is_not() -> None:
    """A monthly visitor by a clock has a lower risk than one by chance while nothing is due, a higher one when late."""
    uneven: list[float] = [2, 9, 70, 75, 120, 122, 170, 260, 262, 300, 318, 332]

    def risk(days: list[float]) -> float:
        return float(score(rollup(*logins(*days)), NOW).probability[0])

    assert risk(regular(30, 2)) < risk(uneven) - 0.03
    late = [day + 60 for day in uneven]
    assert risk(regular(30, 62)) > risk(late) + 0.05


def test_between_projects_a_customer_is_expected_back() -> None:
    """Ten days of work and forty of none, again and again: forty days of silence are usual then."""
    projects = [40.0 + start + day for start in (0, 50, 100) for day in range(10)]
    always = [40.0 + day for day in range(30)]
    rhythm = history_of(rollup(*logins(*projects)), NOW).rhythm
    assert rhythm.pause == pytest.approx(41)
    scores = score(rollup(*logins(*projects)), NOW)
    assert STATES[scores.state[0]] == "active"
    assert scores.probability[0] < 0.5 < 0.9 < score(rollup(*logins(*always)), NOW).probability[0]
    assert not any("usually" in reason.text for reason in scores.reasons[0])


def test_over_a_short_horizon_the_next_visit_may_not_be_due_yet() -> None:
    """A backtest asks all customers about the same days: a quarterly one is not back within 30, but in week twelve."""
    visits = [row for customer, last in enumerate((2, 80)) for row in logins(*regular(91, last), customer=customer)]
    both = rollup(*visits, customers=2)
    assert (own_horizons(history_of(both, NOW), 30) == 180).all()
    at = np.full(2, NOW - NOW % DAY)
    taken = sample(both, np.arange(2), at, np.zeros(2, np.int8), columns=PRIOR.features, horizon_days=30)
    just_here, nearly_due = taken.probability(PRIOR)
    assert just_here > nearly_due + 0.3


def test_a_single_gap_tells_when_the_next_visit_is_due() -> None:
    """In backtests, whose horizon is the same for all. Where it is a customer's own, nothing falls due in silence."""
    since = np.array([2.0, 40.0, 80.0])
    visits = [row for customer, last in enumerate(since) for row in logins(last, last + 90, customer=customer)]
    both, at = rollup(*visits, customers=3), np.full(3, NOW - NOW % DAY)
    fixed, own = (
        sample(both, np.arange(3), at, np.zeros(3, np.int8), columns=("due",), horizon_days=30, own=own).x[:, 0]
        for own in (False, True)
    )
    assert fixed == pytest.approx((since + 30) / 90, abs=0.02)
    assert own == pytest.approx([2, 2, 2])


def test_stints_tell_when_the_next_one_begins() -> None:
    """In backtests alone, too: three days of use each quarter have a cadence of a day, and a longest gap of 89."""
    since = np.array([2.0, 40.0, 80.0])
    visits = [
        row
        for customer, last in enumerate(since)
        for row in logins(*(last + 91 * quarter + day for quarter in range(4) for day in range(3)), customer=customer)
    ]
    both, at = rollup(*visits, customers=3), np.full(3, NOW - NOW % DAY)
    fixed, own = (
        sample(
            both, np.arange(3), at, np.zeros(3, np.int8), columns=("beyond", BACK_BY), horizon_days=30, own=own
        ).select([BACK_BY])[:, 0]
        for own in (False, True)
    )
    assert fixed == pytest.approx((since + 30) / 89, abs=0.02)
    assert own == pytest.approx([2, 2, 2])


def test_few_slow_customers_are_not_learnt_by_heart() -> None:
    """Where one in ten is not expected back within the horizon, a model has a term for that; where two in a hundred
    are, none."""
    rng = np.random.default_rng(0)
    due, lapsed, many = np.full(400, 2.0), (rng.random(400) < 0.3).astype(np.int8), np.arange(400.0)
    for slow, used in ((8, False), (80, True)):
        due[:slow], lapsed[:slow] = rng.random(slow), 1
        columns = np.column_stack([rng.random(400), due])
        taken = Sample(("tenure", "due"), columns, lapsed, many.astype(np.int64), many, np.full(400, 30.0))
        assert ("due" in fit_regression(taken, taken.columns, "a").features) == used


def test_a_first_bill_is_followed_by_the_next_in_a_month() -> None:
    """The risk hardly rises before then, and the customer is new until the second bill is late."""
    paid = [score(rollup(row("invoice_paid", days)), NOW) for days in (1, 15, 44, 60)]
    risks = [float(scores.probability[0]) for scores in paid]
    assert risks[1] < risks[0] + 0.15 < 0.5 < risks[2] < risks[3]
    assert [STATES[scores.state[0]] for scores in paid] == ["new", "new", "new", "lapsed"]
    assert paid[0].horizon_days[0] == 90


def test_a_yearly_payer_is_not_lapsed_before_the_next_bill_is_late() -> None:
    for days, state in ((20, "active"), (200, "active"), (380, "active"), (420, "lapsed")):
        scores = score(rollup(*[row("invoice_paid", days + 365 * year) for year in range(3)]), NOW)
        assert (STATES[scores.state[0]], scores.horizon_days[0]) == (state, 730)
        assert (scores.lapsed_at[0] is not None) == (state == "lapsed")


def test_a_quarter_is_asked_about_over_half_a_year_whatever_its_length() -> None:
    for gap, horizon in ((89, 180), (92, 180), (119, 180), (150, 365)):
        visits = logins(*[5 + gap * visit for visit in range(3)])
        assert own_horizons(history_of(rollup(*visits), NOW), 30) == horizon
