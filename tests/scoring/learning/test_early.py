from functools import cache

import numpy as np
import pytest

from scoring.learning.early import Silences, gain_in_errors, is_gain
from scoring.learning.metrics import log_loss
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import columns_of, sample
from scoring.learning.training import learn
from scoring.model import PRIOR, Model
from scoring.rollup import DAY, Rollup, Row
from tests.scoring.simulator import START, Kind, simulate


@cache
def shop(customers: int = 150, days: int = 120) -> Rollup:
    """Most customers buy once and never come back; they arrive over the first two months."""
    rng = np.random.default_rng(2)
    rows: list[Row] = []
    for customer in range(customers):
        day, joined = 0, int(rng.integers(0, 60))
        while joined + day < days:
            at = (START + joined + day) * DAY + 43_200
            rows.append((customer, START + joined + day, "login", "", 1, 0.0, at, None))
            if rng.random() < 0.8:
                break
            day += int(rng.integers(5, 25))
    return Rollup.from_rows(customers, rows)


def moment(day: float) -> float:
    return (START + day) * DAY


def losses(day: int) -> tuple[float, float, float]:
    """Brier scores of a day's customers at risk, by the base rate of that day, the formula and the adjusted one."""
    at = moment(day)
    who = at_risk(shop(), at)
    instants = np.full(len(who), at)
    lapsed = lapsed_within(shop(), who, instants, 30)
    known = shop().until(at)
    taken = sample(known, who, instants, lapsed, columns=PRIOR.features, horizon_days=30)
    model = Silences(known, at, 30).adjust(at) or PRIOR
    base, formula, adjusted = (
        float(((p - lapsed) ** 2).mean()) for p in (lapsed.mean(), taken.probability(PRIOR), taken.probability(model))
    )
    return base, formula, adjusted


def test_a_new_shop_is_told_the_truth_from_the_sixth_week_on() -> None:
    """Before any horizon is over for most, open silences say that nearly everybody leaves."""
    days = [losses(day) for day in (40, 50, 60)]
    base, formula, adjusted = (float(np.mean(column)) for column in zip(*days, strict=True))
    assert adjusted < formula - 0.02
    assert adjusted < base + 0.01


def test_what_was_not_known_yet_changes_nothing() -> None:
    """An adjustment as of a past moment is the same, whatever has happened since."""
    at = moment(50)
    before = Silences(shop().until(at), at, 30).fit(at)
    after = Silences(shop(), moment(110), 30).fit(at)
    assert [term.weights for term in before.terms] == [pytest.approx(term.weights) for term in after.terms]


def test_an_account_that_is_as_the_formula_thinks_is_left_alone() -> None:
    """Nothing to gain, nothing changed: and where it is changed, it does no harm."""
    world = simulate(Kind(visits=0.4), customers=400)
    now = moment(120)
    model = Silences(world.rollup.until(now), now, 30).adjust(now)
    who, at, lapsed, _ = world.snapshots(warm_up=120)
    labels = lapsed.astype(np.int8)
    taken = sample(world.rollup, who, at, labels, columns=columns_of(world.rollup), horizon_days=30)
    after = log_loss(labels, taken.probability(model or PRIOR))
    assert after < log_loss(labels, taken.probability(PRIOR)) + 0.005


def test_a_training_without_a_holdout_adjusts_the_formula() -> None:
    """A young account does not wait for a fixed number of lapses; adjusted again, a trifle changes nothing."""
    learnt = learn(shop().until(moment(45)), moment(45), horizon_days=30).training
    assert (learnt.replaced, learnt.model.kind) == (True, "early")
    weights = {term.feature: term.weights[0] for term in learnt.model.terms}
    assert weights["newcomer"] > 0.8
    again = learn(shop().until(moment(46)), moment(46), learnt.model, horizon_days=30).training
    assert not again.replaced


def test_an_account_that_few_newcomers_leave_gets_a_level_of_its_own() -> None:
    """Its newcomers are not made riskier to match its rate: level and newcomers are learnt apart."""
    world = simulate(Kind(visits=0.4), customers=400)
    now = moment(120)
    model = Silences(world.rollup.until(now), now, 30).fit(now)
    weights = {term.feature: term.weights[0] for term in model.terms}
    assert weights["newcomer"] < 0.8
    assert weights["silence"] > 0.6
    assert {"newcomer", "quitting"} <= set(weights)


def test_silence_tells_less_where_customers_take_breaks() -> None:
    """Same visits and churn: where breaks of two weeks are common, silence weighs less, but activity hardly does."""
    now, weights = moment(200), []
    for absences in (0.0, 0.02):
        world = simulate(Kind(visits=0.5, absences=absences), customers=300)
        model = Silences(world.rollup.until(now), now, 30).fit(now)
        weights.append({term.feature: term.weights[0] for term in model.terms})
    steady, breaks = weights
    assert steady["silence"] > 1.2
    assert breaks["silence"] < steady["silence"] - 0.3
    assert breaks["silence"] - steady["silence"] < breaks["activity"] - steady["activity"] - 0.1


def test_an_adjustment_is_trusted_as_far_as_it_has_gained() -> None:
    """It does not jump between the formula and all that was fitted; where it did worse, it is not used."""
    now = moment(60)
    silences = Silences(shop(), now, 30)
    whole, half = (dict(_weights(silences.fit(now, trust=trust))) for trust in (1.0, 0.5))
    formula = {**dict(_weights(PRIOR)), "quitting": 0.0}
    for feature, weight in half.items():
        assert weight == pytest.approx((whole[feature] + formula[feature]) / 2)
    assert [silences.adjust(now) is None, silences._trust(now)] == [False, 1.0]
    assert gain_in_errors(np.array([0.1, -0.1, 0.1]), np.arange(3)) == pytest.approx(1 / np.sqrt(3))
    assert gain_in_errors(np.zeros(0), np.zeros(0, np.int64)) == gain_in_errors(np.zeros(3), np.arange(3)) == 0.0


def _weights(model: Model) -> list[tuple[str, float]]:
    return [(term.feature, term.weights[0]) for term in model.terms]


def test_nothing_is_known_of_an_empty_account() -> None:
    empty = Silences(Rollup.from_rows(0, ()), moment(10), 30)
    assert empty.adjust(moment(10)) is None


def test_a_gain_has_to_be_above_its_standard_error() -> None:
    """And ten rows of one customer are one customer."""
    one_each, one_customer = np.arange(10), np.zeros(10, np.int64)
    assert is_gain(np.full(10, 0.1), one_each)
    assert not is_gain(np.full(10, 0.1), one_customer)
    assert not is_gain(np.zeros(0), np.zeros(0, np.int64))
