"""The certainty of weights: intervals contain the truth as often as they claim."""

import numpy as np
import pytest

from scoring.learning.fit import fit_regression
from scoring.learning.samples import Sample
from scoring.learning.uncertainty import margin, measure_covariances
from scoring.model import PRIOR, Model, sigmoid
from scoring.rollup import Floats

NAMES = ("invoice_paid", "support_ticket_opened", "uses:exports")
TRUTH = np.array([-0.4, 0.5, 0.1])


def draw(seed: int, customers: int = 400, copies: int = 1) -> Sample:
    """Customers whose odds follow TRUTH; each gives so many snapshots, all alike."""
    rng = np.random.default_rng(seed)
    x = (rng.random((customers, 3)) < 0.5).astype(float)
    lapsed = (rng.random(customers) < sigmoid(x @ TRUTH - 0.5)).astype(np.int8)
    owner = np.repeat(np.arange(customers), copies)
    return Sample(NAMES, x[owner], lapsed[owner], owner, np.zeros(len(owner)), np.full(len(owner), 30.0))


def margins(sample: Sample) -> tuple[Model, Floats]:
    model = fit_regression(sample, NAMES, "map-1")
    covariances = measure_covariances(sample, model)
    terms = {term.feature: term for term in model.terms}
    found = [margin(terms[name], covariances[name], 0.0, 1.0) if name in terms else np.nan for name in NAMES]
    return model, np.array(found)


def test_intervals_hold_the_truth() -> None:
    """The weight of an open ticket, which is held by a sign, is left out; shrinkage moves the others by little."""
    held = []
    for seed in range(60):
        model, spread = margins(draw(seed, 3000))
        weights = {term.feature: term.weights[0] for term in model.terms}
        off = [abs(weights[name] - truth) for name, truth in zip(NAMES, TRUTH.tolist(), strict=True) if name in weights]
        held += (np.array(off) <= spread[~np.isnan(spread)]).tolist()
    assert np.mean(held) > 0.88


def test_snapshots_of_one_customer_are_not_independent() -> None:
    """Ten copies of the same customers tell no more than one."""
    _, one = margins(draw(1, 2000))
    _, ten = margins(draw(1, 2000, copies=10))
    assert ten[0] == pytest.approx(one[0], rel=0.25)


def test_the_formula_has_no_intervals() -> None:
    assert measure_covariances(draw(1), PRIOR) == {}
