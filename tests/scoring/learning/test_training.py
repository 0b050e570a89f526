from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from scoring.features import View
from scoring.history import history_of
from scoring.learning.backtest import folds_of, score_out_of_fold
from scoring.learning.logistic import Priors, discoveries, fit_logistic, score_tests
from scoring.learning.metrics import auc, log_loss, metrics_of
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import Sample, columns_of, sample
from scoring.learning.training import _map, candidates_of, fit, forward_split, learn, train
from scoring.model import PRIOR, Model
from scoring.risk import weigh
from scoring.rollup import DAY, Rollup, Row
from scoring.score import score, scores_at
from tests.scoring.simulator import START, Kind, World, simulate


@cache
def world() -> World:
    return simulate(Kind(), customers=1200)


@cache
def taken() -> tuple[Sample, tuple[float, ...]]:
    who, at, lapsed, oracle = world().snapshots()
    columns = columns_of(world().rollup)
    return sample(world().rollup, who, at, lapsed.astype(np.int8), columns=columns, horizon_days=30), tuple(
        oracle.tolist()
    )


def some(lapses: int) -> Sample:
    """The first so many lapses, with the same share of all others."""
    whole = taken()[0]
    last = int(np.flatnonzero(whole.lapsed)[lapses - 1]) + 1
    return whole.rows(np.arange(last))


@pytest.mark.parametrize("kind", [Kind(visits=0.6, spread=0.7), Kind(visits=0.7, weekdays=True), Kind(absences=0.006)])
def test_the_day_one_formula_ranks_near_the_optimum(kind: Kind) -> None:
    """It knows no chance and no hazard of these worlds, and loses under .075 AUC to an oracle that knows them all.

    Newcomers leave no more often than others here, unlike in real logs: what the formula thinks of them costs .01.
    """
    simulated = simulate(kind, customers=1000)
    who, at, lapsed, oracle = simulated.snapshots()
    risk = weigh(PRIOR, View(history_of(simulated.rollup.at(who, at), at), at, 30)).probability
    y = lapsed.astype(np.int8)
    assert auc(y, oracle) - 0.075 < auc(y, risk) <= auc(y, oracle) + 0.01


@cache
def slow_customers() -> Rollup:
    """A visit every 20 to 60 days, as if by a clock, until one in twelve is the last."""
    rng = np.random.default_rng(4)
    rows: list[Row] = []
    for customer in range(400):
        day, gap = int(rng.integers(0, 150)), float(rng.uniform(20, 60))
        while day < 900:
            rows.append((customer, START + day, "login", "", 1, 0.0, (START + day) * DAY + 43_200, None))
            day += max(1, round(rng.normal(gap, 3)))
            if rng.random() < 1 / 12:
                break
    return Rollup.from_rows(400, rows)


def test_a_model_is_trained_on_the_question_that_its_risks_answer() -> None:
    """Risks of slow customers look further ahead than the account's horizon, in training as well."""
    now = (START + 500) * DAY
    learnt = learn(slow_customers(), now, horizon_days=30)
    assert learnt.training.replaced
    who = at_risk(slow_customers(), now)
    at = np.full(len(who), now)
    scores = scores_at(slow_customers(), who, at, 30, learnt.training.model)
    assert scores.horizon_days.mean() > 60
    lapsed = lapsed_within(slow_customers(), who, at, scores.horizon_days)
    assert scores.probability.mean() == pytest.approx(lapsed.mean(), abs=0.06)


def test_training_comes_nearer_to_the_optimum_and_is_calibrated() -> None:
    """Fitted on other customers, it beats the formula in ranking and in log loss."""
    whole, oracle = taken()
    predicted = score_out_of_fold(whole, folds_of(whole.customer, 5), fit)
    assert predicted is not None
    untrained, trained = metrics_of(whole.lapsed, whole.probability(PRIOR)), metrics_of(whole.lapsed, predicted)
    best = metrics_of(whole.lapsed, np.array(oracle))
    assert untrained.auc is not None
    assert trained.auc is not None
    assert best.auc is not None
    assert untrained.auc < trained.auc < best.auc < trained.auc + 0.05
    assert best.log_loss < trained.log_loss < untrained.log_loss
    assert trained.ece < 0.015


def test_noise_cannot_be_learnt() -> None:
    """If lapses are random, so is the ranking of other customers."""
    whole = taken()[0]
    noise = whole._replace(lapsed=(np.random.default_rng(5).random(len(whole.x)) < 0.1).astype(np.int8))
    half = whole.customer % 2 == 0
    predicted = noise.rows(~half).probability(fit(noise.rows(half)))
    assert 0.46 < auc(noise.rows(~half).lapsed, predicted) < 0.54
    assert predicted.std() < 0.05


def test_under_twenty_lapses_the_formula_stands_and_then_is_recalibrated() -> None:
    """More outcomes allow a richer fit."""
    assert fit(some(19)) is PRIOR
    assert fit(some(20)).kind == "recalibrated"
    assert fit(some(50)).kind == "map"


@pytest.mark.parametrize("lapses", [20, 50, 100])
def test_learning_from_few_lapses_does_no_harm(lapses: int) -> None:
    """On customers that it has not seen, a model of few lapses loses next to nothing to the formula."""
    whole, early = taken()[0], some(lapses)
    unseen = whole.rows(~np.isin(whole.customer, np.unique(early.customer)))
    if len(unseen.x) < 500:
        pytest.skip("every customer is among the early ones")
    after = log_loss(unseen.lapsed, unseen.probability(fit(early)))
    assert after < log_loss(unseen.lapsed, unseen.probability(PRIOR)) + 0.01


def test_a_model_replaces_the_one_in_use_only_if_it_did_better_later_on() -> None:
    """It is fitted on the past and judged on what came after; a second training has no reason to replace the first."""
    whole = taken()[0]
    first = train(whole, version="one")
    assert first.replaced
    assert first.model.kind in {"map", "additive"}
    assert first.holdout[first.model.kind].log_loss < first.holdout["in use"].log_loss
    assert not train(whole, first.model, version="two").replaced


def test_an_account_learns_from_its_own_rollup() -> None:
    """From rows to a better model in one call, for the account's own horizon; while too little is known, no change."""
    learnt = learn(world().rollup, (START + 210) * DAY, version="three")
    assert learnt.horizon_days in {14, 30, 60, 90}
    assert learnt.training.replaced
    assert learnt.training.model.version == "three"
    young = learn(world().rollup, (START + 20) * DAY)
    assert (young.horizon_days, young.training.replaced, young.training.model.kind) == (30, False, "prior")


def test_the_holdout_lies_after_everything_that_was_learnt_from() -> None:
    """Outcomes of the earlier snapshots are closed before the later ones begin."""
    early, late = forward_split(taken()[0])
    assert early.at.max() + 30 * DAY <= late.at.min()


def test_training_without_lapses_leaves_everything_as_it_is() -> None:
    """No lapse, no snapshot: the model in use stays."""
    whole = taken()[0]
    for empty in (whole._replace(lapsed=np.zeros(len(whole.x), np.int8)), whole.rows(np.arange(0))):
        outcome = train(empty)
        assert not outcome.replaced
        assert outcome.model is PRIOR


@pytest.mark.parametrize("additive", [False, True])
def test_a_fitted_model_scores_like_the_formula_does(additive: bool) -> None:
    """Contributions add up, the risk never falls in silence, and the unknown customer gets the base rate."""
    whole = taken()[0]
    model = _map(whole, PRIOR, "two", additive)
    rollup, now = world().rollup, (START + 200) * DAY
    silent = rollup.until(now)
    risks = np.array([score(silent, now + wait * DAY, model=model).probability for wait in (0, 1, 3, 10, 40, 400)])
    assert (np.diff(risks, axis=0) >= -1e-9).all()
    scores = score(rollup, now, model=model)
    total = scores.baseline + scores.contributions.sum(axis=1)
    assert 1 / (1 + np.exp(-total)) == pytest.approx(scores.probability)
    nobody = score(rollup.where(np.zeros(len(rollup.n), dtype=bool)), now, model=model).probability
    assert nobody == pytest.approx(whole.lapsed.mean())


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("event", ["invoice_overdue", "support_ticket_opened", "subscription_downgraded"])
def test_no_fitted_model_counts_a_complaint_in_a_customers_favour(event: str, additive: bool) -> None:
    """Not even where those who complain stay: one more never lowers a risk."""
    simulated = simulate(Kind(complaints={event: (0.02, 0.1)}), customers=800)
    who, at, lapsed, _ = simulated.snapshots()
    taken = sample(
        simulated.rollup, who, at, lapsed.astype(np.int8), columns=columns_of(simulated.rollup), horizon_days=30
    )
    model, now = _map(taken, PRIOR, "two", additive), (START + 150) * DAY
    before = simulated.rollup.until(now)
    code = before.names.index(event)
    more = Rollup.from_rows(800, [(k, START + 149, event, "", 1, 0.0, now - 60.0, None) for k in range(800)])
    both: dict[str, Any] = {
        name: np.append(getattr(before, name), np.full(800, code) if name == "event" else getattr(more, name))
        for name in ("customer", "day", "event", "detail", "n", "value", "last_at", "plan")
    }
    known = ~np.isnan(history_of(before, now).last_active)
    risks = [score(days, now, model=model).probability[known] for days in (before, replace(before, **both))]
    assert (risks[1] >= risks[0] - 1e-12).all()


def test_serving_says_what_training_said() -> None:
    """The same customers at the same instant get the same risk through either door."""
    whole, now = taken()[0], (START + 136) * DAY - 1.0
    model = fit(whole)
    at_now = whole.rows(whole.at == now)
    assert len(at_now.x)
    scores = score(world().rollup, now, model=model)
    served, predicted = scores.probability[at_now.customer], at_now.probability(model)
    same = (scores.horizon_days[at_now.customer] == 30) & (predicted < 0.95)
    assert same.mean() > 0.9
    assert served[same] == pytest.approx(predicted[same])


def test_a_model_survives_its_row() -> None:
    """Written as JSON and read back, it is the same."""
    model = fit(taken()[0])
    assert msgspec.json.decode(msgspec.json.encode(model), type=Model) == model


def test_a_custom_event_that_tells_something_enters_and_noise_does_not() -> None:
    """Thirty events that follow activity and nothing else stay out; one that halves the hazard's odds comes in."""
    whole = taken()[0]
    rng = np.random.default_rng(3)
    activity = whole.select(["activity"])
    noise = (rng.random((len(whole.x), 30)) < 0.3 / (1 + np.exp(activity + 3))) * 1.0
    useful = (rng.random(len(whole.x)) < np.where(whole.lapsed == 1, 0.6, 0.2)) * 1.0
    names = tuple(f"event:noise {k}" for k in range(30))
    fuller = whole._replace(
        columns=(*whole.columns, *names, "event:useful"), x=np.column_stack([whole.x, noise, useful])
    )
    standing = {c.event: c for c in candidates_of(fuller, PRIOR)}
    assert standing["useful"].in_use
    assert sum(c.in_use for c in standing.values()) <= 2
    model = fit(fuller)
    assert "event:useful" in {term.feature for term in model.terms}


def test_an_event_below_the_volume_is_counting() -> None:
    """Under 50 customers there is no p-value yet, and what is missing is said."""
    whole = taken()[0]
    rare = np.zeros(len(whole.x))
    rare[:20] = 1.0
    fuller = whole._replace(columns=(*whole.columns, "event:rare"), x=np.column_stack([whole.x, rare]))
    (standing,) = candidates_of(fuller, PRIOR)
    assert (standing.p_value, standing.in_use) == (None, False)
    assert standing.customers < standing.customers_needed == 50


def test_the_properties_of_events_enter_the_model() -> None:
    """Features, pages, plans and durations that enough customers have become columns, and weigh what they are worth."""
    rng = np.random.default_rng(6)
    rows = []
    for customer in range(900):
        pro, stop = customer % 3 == 0, int(rng.exponential(60 if customer % 3 else 300))
        for day in range(0, min(200, stop + 1), 3):
            plan, feature = "pro" if pro else "free", "exports" if day % 2 else "home"
            rows.append((customer, START + day, "feature_used", feature, 1, 60.0, (START + day) * DAY + 60, plan))
    rollup = Rollup.from_rows(900, rows)
    columns = columns_of(rollup)
    assert {"uses:exports", "uses:home", "plan:pro", "plan:free", "session"} <= set(columns)
    model = learn(rollup, (START + 200) * DAY, horizon_days=30).training.model
    weights = {term.feature: term.weights[0] for term in model.terms}
    assert weights["plan:pro"] < 0 < weights["plan:free"]
    reasons = score(rollup, (START + 200) * DAY, model=model).reasons
    assert "On the plan pro" in {reason.text for listed in reasons for reason in listed}


def test_a_custom_event_needs_two_weeks_and_must_still_be_sent() -> None:
    """A new one and an abandoned one are no candidates yet, or no more."""
    rows = [(0, START + day, "login", "", 1, 0.0, (START + day) * DAY, None) for day in range(60)]
    for event, days in {"steady": range(0, 60), "new": range(50, 60), "abandoned": range(0, 45)}.items():
        rows += [(0, START + day, event, "", 1, 0.0, (START + day) * DAY, None) for day in days]
    assert [name for name in columns_of(Rollup.from_rows(1, rows)) if name.startswith("event:")] == ["event:steady"]


def test_signs_are_held() -> None:
    """A coefficient of the wrong sign is 0, and the rest is fitted without it."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 2))
    y = (rng.random(2000) < 1 / (1 + np.exp(-(x[:, 0] - x[:, 1])))).astype(np.int8)
    flat = Priors(np.zeros(2), np.full(2, 10.0), np.zeros(2, np.int8))
    assert fit_logistic(x, y, flat)[1] == pytest.approx([1, -1], abs=0.15)
    held = fit_logistic(x, y, flat._replace(sign=np.array([1, 1], np.int8)))[1]
    assert held[1] == 0
    assert held[0] > 0.5


def test_the_score_test_is_uniform_under_the_null() -> None:
    """p-values of noise are below .1 about a tenth of the time, and a real effect's is tiny."""
    rng = np.random.default_rng(2)
    x, noise = rng.normal(size=(800, 1)), rng.normal(size=(800, 300))
    p = 1 / (1 + np.exp(-x[:, 0]))
    y = (rng.random(800) < p).astype(np.int8)
    p_values = score_tests(x, y, p, noise + x)
    assert 0.05 < (p_values < 0.1).mean() < 0.15
    assert not discoveries(p_values, 0.1).any()
    assert score_tests(x, y, np.full(800, y.mean()), y[:, None] + noise[:, :1])[0] < 1e-6
