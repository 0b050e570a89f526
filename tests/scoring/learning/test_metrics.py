import numpy as np
import pytest

from scoring.learning.metrics import auc, calibration, lift, log_loss, metrics_of, pr_auc

LAPSED = np.array([0, 0, 1, 1], dtype=np.int8)
RISK = np.array([0.1, 0.4, 0.35, 0.8])


def test_ranking_measures_agree_with_the_textbook() -> None:
    """The classic example: AUC .75, average precision .83."""
    assert auc(LAPSED, RISK) == 0.75
    assert pr_auc(LAPSED, RISK) == pytest.approx(0.8333, abs=1e-4)


def test_ties_count_half_and_their_order_counts_nothing() -> None:
    """A constant score is worth nothing, whatever the order of the rows."""
    flat, lapsed = np.full(1000, 0.1), np.repeat([1, 0], [100, 900]).astype(np.int8)
    assert auc(lapsed, flat) == 0.5
    assert pr_auc(lapsed, flat) == pytest.approx(0.1)
    assert lift(lapsed, flat) == pytest.approx(1.0)
    assert metrics_of(lapsed, flat).ece < 0.05


def test_lift_is_that_of_the_top_tenth() -> None:
    """All lapses in the top tenth of a tenth: ten times the base rate."""
    lapsed = np.repeat([0, 1], [90, 10]).astype(np.int8)
    assert lift(lapsed, np.linspace(0, 1, 100)) == pytest.approx(10)


def test_calibration_groups_are_tenths_from_the_lowest_risk_up() -> None:
    """Each has the predicted and the actual share."""
    bins = calibration(np.repeat([0, 1], 50).astype(np.int8), np.linspace(0, 1, 100))
    assert [b.customers for b in bins] == [10] * 10
    assert bins[0].actual == 0
    assert bins[-1].actual == 1
    assert bins[0].predicted < bins[-1].predicted


def test_a_sure_miss_costs_much_but_not_everything() -> None:
    """Log loss stays finite for certainties that were wrong."""
    assert 20 < log_loss(np.array([1], dtype=np.int8), np.array([0.0])) < 21


def test_one_sided_outcomes_have_no_ranking() -> None:
    """If nobody lapsed, ranking measures are None and the others still stand; no outcome at all is an error."""
    found = metrics_of(np.zeros(4, np.int8), RISK)
    assert found.auc is found.pr_auc is found.lift is None
    assert found.brier > 0
    with pytest.raises(ValueError, match="nothing to measure"):
        metrics_of(np.zeros(0, np.int8), np.zeros(0))
