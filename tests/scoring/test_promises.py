"""The promises of every served risk, for any model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.features import SEASON
from scoring.learning.fit import _sign
from scoring.learning.samples import ALWAYS, ASIDE, OF_EVENT
from scoring.model import Model, Term, sigmoid
from scoring.rollup import DAY, Row
from scoring.score import score
from tests.scoring.world import NOW, any_rows, logins, rollup

LEARNABLE = sorted({*ALWAYS, *ASIDE, *(name for brought in OF_EVENT.values() for name in brought), "session", SEASON})


@st.composite
def any_term(draw: st.DrawFn) -> Term:
    """A feature as a fit could have it: lines that bend, their slopes of the sign that the fit holds."""
    feature = draw(st.sampled_from(LEARNABLE))
    knots = tuple(sorted(draw(st.lists(st.floats(0, 5), max_size=3, unique=True))))
    sizes = [draw(st.floats(0, 3)) for _ in range(len(knots) + 1)]
    slopes = [size * (_sign(feature) or draw(st.sampled_from([-1, 1]))) for size in sizes]
    return Term(feature, (slopes[0], *np.diff(slopes).tolist()), knots, draw(st.floats(-2, 2)))


@st.composite
def any_model(draw: st.DrawFn) -> Model:
    """Any sum of such terms."""
    return Model("any", "map", draw(st.floats(-4, 4)), tuple(draw(st.lists(any_term(), min_size=1, max_size=8))))


@given(any_rows, any_model(), st.sampled_from([14, 30, 60, 90]), st.lists(st.floats(0, 400), min_size=2, max_size=5))
def test_no_learnt_risk_falls_in_silence(rows: list[Row], model: Model, horizon: int, waits: list[float]) -> None:
    """Of no customer, slow ones included: theirs looks at least two visits ahead, by however long they have waited."""
    world = rollup(*rows, *logins(*range(40, 400, 45)), customers=3)
    moments = [NOW + wait * DAY for wait in [0, *sorted(waits)]]
    risks = np.array([score(world, at, model=model, horizon_days=horizon).probability for at in moments])
    assert (np.diff(risks, axis=0) >= -1e-9).all()


@given(any_rows, any_model())
def test_contributions_of_any_model_add_up(rows: list[Row], model: Model) -> None:
    """Models of accounts that nearly everybody leaves, too."""
    scores = score(rollup(*rows, customers=3), NOW, model=model)
    total = scores.baseline + scores.contributions.sum(axis=1)
    assert np.isfinite(scores.contributions).all()
    assert sigmoid(total) == pytest.approx(scores.probability)
