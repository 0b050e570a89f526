"""`GET /api/v1/model`."""

import pytest
from redis import Redis
from starlette.testclient import TestClient

from scoring.learning.metrics import Metrics
from scoring.model import PRIOR
from tests.workers.worlds import fill, world
from workers.accounts import keys
from workers.accounts.models import find_in_use
from workers.accounts.registry import choose_rules, save_learnt_horizon
from workers.learning.evaluation import mature
from workers.learning.trainer import train
from workers.store import Connection

MODEL = "/api/v1/model"


def test_an_untrained_account_has_the_formula(acme: TestClient) -> None:
    answer = acme.get(MODEL).json()
    assert (answer["name"], answer["kind"], answer["version"], answer["horizon_days"]) == ("prior-1", "prior", None, 30)
    assert {weight["feature"]: weight["weights"] for weight in answer["weights"]}["invoice_overdue"] == [1.2]
    assert answer["baseline"] == PRIOR.baseline
    missing = ("created_at", "trained_on", "holdout", "holdout_before", "last_training", "matured")
    assert [answer[name] for name in missing] == [None] * len(missing)


def test_a_trained_account_tells_what_it_learnt_from_and_how_good_it_was(
    acme: TestClient, connection: Connection
) -> None:
    account_id = fill(connection, world())
    card = train(connection, account_id, 30)
    answer, model = acme.get(MODEL).json(), find_in_use(connection, account_id).model
    assert answer["name"] == card.chosen == f"{answer['kind']}-{answer['version']}"
    assert [weight["feature"] for weight in answer["weights"]] == [term.feature for term in model.terms]
    assert answer["trained_on"]["snapshots"] == card.snapshots
    assert answer["trained_on"]["horizon_days"] == 30
    assert answer["trained_on"]["since"].endswith("T00:00:00Z")
    holdout = answer["holdout"]
    assert holdout["log_loss"] < answer["holdout_before"]["log_loss"]
    assert holdout["brier"] < holdout["brier_of_base_rate"]
    assert sum(group["customers"] for group in holdout["calibration"]) == holdout["snapshots"]
    assert answer["last_training"]["decision"] == card.why


def test_the_horizon_is_the_one_that_holds_now(acme: TestClient, connection: Connection) -> None:
    """As learnt by the last training, or as chosen since."""
    account_id = fill(connection, world())
    save_learnt_horizon(connection, account_id, 14)
    train(connection, account_id)
    assert acme.get(MODEL).json()["horizon_days"] == 14
    choose_rules(connection, "acme", {}, 60)
    answer = acme.get(MODEL).json()
    assert (answer["horizon_days"], answer["trained_on"]["horizon_days"]) == (60, 14)


def test_a_training_that_changed_nothing_is_told(acme: TestClient, connection: Connection) -> None:
    train(connection, fill(connection, world(20, 60)), 30)
    answer = acme.get(MODEL).json()
    assert (answer["name"], answer["trained_on"]) == ("prior-1", None)
    assert "nothing did better on the holdout" in answer["last_training"]["decision"]


def test_matured_scores_are_told(acme: TestClient, connection: Connection) -> None:
    account_id = fill(connection, world())
    connection.execute("""
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, date_trunc('day', now()) - interval '33 days 2 hours', random(), 'low', 'active', 'prior-1'
        FROM customers WHERE first_seen < now() - interval '33 days'
    """)
    matured = mature(connection, account_id, 30)
    assert matured is not None
    metrics: Metrics = matured.metrics
    answer = acme.get(MODEL).json()["matured"]
    assert (answer["day"], answer["horizon_days"]) == (matured.day.isoformat(), 30)
    assert answer["auc"] == pytest.approx(metrics.auc)
    assert answer["brier_of_base_rate"] == pytest.approx(metrics.base_rate * (1 - metrics.base_rate))


def test_an_account_sees_its_own_model(acme: TestClient, connection: Connection, redis: Redis) -> None:
    train(connection, fill(connection, world()), 30)
    assert acme.get(MODEL).json()["version"] is not None
    acme.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert acme.get(MODEL).json()["version"] is None


def test_it_needs_a_secret_key(client: TestClient, connection: Connection, redis: Redis) -> None:
    assert client.get(MODEL).json()["code"] == "missing_api_key"
    client.headers["X-API-Key"] = keys.create(connection, redis, "acme", publishable=True).secret
    assert client.get(MODEL).json()["code"] == "key_not_allowed"
