"""`/model`."""

import re
from math import exp

import pytest
from starlette.testclient import TestClient

from api.dashboard.weights import describe_effects
from api.reading.model import Weight, list_weights
from scoring.learning.training import CHALLENGE, TRY_MAP, TRY_RECALIBRATED
from scoring.model import PRIOR
from tests.workers.worlds import fill, world
from workers.learning.evaluation import mature
from workers.learning.trainer import train
from workers.store import Connection

PROVED = """
    INSERT INTO risk_history (customer_id, at, probability, level, state, model)
    SELECT customer_id, date_trunc('day', now()) - interval '33 days 2 hours', random(), 'low', 'active', 'prior-1'
    FROM customers WHERE first_seen < now() - interval '33 days'
"""


def test_an_untrained_account_reads_what_is_needed(signed_in: TestClient) -> None:
    page = signed_in.get("/model").text
    for text in (
        "prior-1",
        "The first training runs by itself",
        f"0 of {TRY_RECALIBRATED}",
        f"0 of {TRY_MAP}",
        f"0 of {CHALLENGE}",
        "No scores to check yet",
        "No trained model yet",
    ):
        assert text in page
    assert "<details open>" in page


def test_a_training_that_changed_nothing_tells_how_far_it_is(signed_in: TestClient, connection: Connection) -> None:
    card = train(connection, fill(connection, world(20, 60)), 30)
    page = signed_in.get("/model").text
    assert f"{card.lapses}\u00a0departure" in page
    assert "so the model stays" in page


def test_a_trained_account_reads_what_it_learnt_and_how_good_it_is(
    signed_in: TestClient, connection: Connection
) -> None:
    account_id = fill(connection, world())
    card = train(connection, account_id, 30)
    model, page = signed_in.get("/api/v1/model").json(), signed_in.get("/model").text
    assert f'<b class="named">{card.chosen}</b>' in page
    assert f"{model['holdout']['auc']:.3f}" in page
    assert f"{model['holdout_before']['log_loss']:.4f}" in page
    for weight in model["weights"]:
        assert f"<bdi>{weight['feature']}</bdi>" in page
    versions = re.findall(r'<th scope="row"><code>([^<]+)</code></th>', page)
    assert card.chosen in versions
    assert page.count(">in use<") == 1


def test_scores_that_proved_themselves_are_drawn(signed_in: TestClient, connection: Connection) -> None:
    account_id = fill(connection, world())
    connection.execute(PROVED)
    matured = mature(connection, account_id, 30)
    assert matured is not None
    page = signed_in.get("/model").text
    assert "AUC), by the day of the scores" in page
    assert f"{matured.metrics.auc:.3f}" in page
    assert page.count('class="group"') == len(matured.metrics.bins)


def test_the_model_is_for_those_who_are_signed_in(acme: TestClient) -> None:
    assert acme.get("/model", follow_redirects=False).headers["location"] == "/sign-in?next=/model"


def test_a_weight_is_told_as_the_odds_of_one_case() -> None:
    """An invoice that is overdue multiplies the odds by e to the weight; a promoter's answer divides."""
    effects = {effect.feature: effect for effect in describe_effects(list_weights(PRIOR), 30)}
    assert round(effects["invoice_overdue"].odds, 2) == 3.32
    assert round(effects["promoter"].odds, 2) == 0.45
    assert effects["silence"].odds > 2
    assert effects["activity"].odds > 2
    assert len({effect.words for effect in effects.values()}) == len(PRIOR.terms)


def test_a_bent_weight_is_followed_along_its_bend() -> None:
    bent = Weight("tenure", "tenure", [0.5, -0.5], [4.0], 0.0, None)
    (effect,) = describe_effects([bent], 30)
    assert round(effect.log_odds, 3) == round(0.5 * (4.0 - 3.43399), 3)


def test_an_effect_matters_where_its_direction_is_certain() -> None:
    """One step of the feature, whose weight is 0.5 with a standard error of 0.1, 0.3, or unknown."""
    weights = [Weight("uses:exports", "", [0.5], [], 0.0, spread) for spread in ([[0.01]], [[0.09]], None)]
    sure, unsure, formula = (describe_effects([weight], 30)[0] for weight in weights)
    assert [effect.matters for effect in (sure, unsure, formula)] == [True, False, True]
    assert sure.interval == pytest.approx((exp(0.5 - 0.196), exp(0.5 + 0.196)))
    assert unsure.interval
    assert unsure.interval[0] < 1 < unsure.interval[1]
    assert formula.interval is None


def test_a_slope_that_is_held_has_no_interval() -> None:
    """Nothing of it was learnt, so no confidence can be claimed."""
    (held,) = describe_effects([Weight("refund_requested", "", [1.2], [], 0.0, [[0.0]])], 30)
    assert (held.interval, held.matters) == (None, True)


def test_features_named_after_what_is_sent_keep_their_names() -> None:
    names = ["uses:exports", "plan:pro", "event:report_shared"]
    effects = describe_effects([Weight(name, "", [0.1], [], 0.0, None) for name in names], 30)
    assert {effect.words for effect in effects} == {
        "Used exports recently",
        "Is on the plan pro",
        "Sent report_shared recently",
    }
