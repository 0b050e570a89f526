import numpy as np
import pytest
from hypothesis import given

from scoring.explain import explain
from scoring.model import PRIOR
from scoring.rollup import Row
from scoring.score import score
from tests.scoring.world import NOW, any_rows, rollup, row


@given(any_rows)
def test_parts_add_up_to_the_risk_that_is_scored(rows: list[Row]) -> None:
    """And those that reasons name have the same points and words."""
    one = rollup(*[(0, *each[1:]) for each in rows], row("login", 3))
    found, scores = explain(one, NOW, horizon_days=30, model=PRIOR), score(one, NOW)
    assert found.probability == pytest.approx(scores.probability[0], abs=1e-12)
    total = sum(part.points for part in found.parts) / 100
    assert total == pytest.approx(found.probability - found.baseline, abs=1e-9)
    said = {part.signal: part for part in found.parts}
    for reason in scores.reasons[0]:
        assert said[reason.signal].text == reason.text
        assert said[reason.signal].points == pytest.approx(reason.points, abs=0.006)


def test_what_raises_the_risk_most_comes_first() -> None:
    found = explain(rollup(row("login", 40), row("invoice_overdue", 20)), NOW, horizon_days=30, model=PRIOR)
    points = [part.points for part in found.parts]
    assert points == sorted(points, reverse=True)
    assert np.isfinite(points).all()
