"""The first list learns: a training by the command, and what calibration counts after an import."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.first_list import terms
from tests.acceptance.first_list.world import CUSTOMERS, WAIT_SECONDS, Imported, Reader
from tests.sending import track
from tests.waiting import wait_until
from tests.workers.events import event
from workers.learning.nightly import turn_key

MODEL = "/api/v1/model"


@pytest.fixture(scope="module")
def shop(imported: Imported) -> Reader:
    """An account whose history is in."""
    shop = imported.account("shop")
    track(shop.client, *terms.list_shop())
    wait_until(lambda: len(list_scores(shop)) == terms.SHOPPERS and imported.is_scored(), WAIT_SECONDS, 0.2)
    return shop


def list_scores(reader: Reader) -> dict[str, float]:
    listed = reader.walk(sort="email", limit=200)
    return {customer["email"]: customer["risk"]["score"] for customer in listed if customer["risk"]}


def read_risk(reader: Reader, email: str) -> dict[str, Any]:
    risk: dict[str, Any] = reader.get(f"{CUSTOMERS}/{email}")["risk"]
    return risk


def test_a_training_that_does_better_takes_the_list_over(imported: Imported, shop: Reader) -> None:
    """Everybody's score is the new model's, nothing rose by that, and the workers score by it from now on."""
    assert shop.get(MODEL)["version"] is None
    before = list_scores(shop)
    printed = imported.command("train", "--account", "shop")
    model = shop.get(MODEL)
    assert f"switched to {model['name']}" in printed
    assert model["holdout"]["log_loss"] < model["holdout_before"]["log_loss"]
    assert model["trained_on"]["lapses"] >= 10
    after = list_scores(shop)
    assert after.keys() == before.keys()
    assert after != before
    assert {read_risk(shop, email)["model"] for email in [*after][::8]} == {model["name"]}
    risen = [datetime.fromisoformat(customer["last_active"]) for customer in shop.walk(risen=10, since="7d")]
    assert max(risen) < datetime.now(UTC) - timedelta(days=3), "who was here lately rose by the model alone"
    assert shop.get("/api/v1/alerts")["alerts"] == []
    assert model["name"] in shop.page("/model")
    silent = max(after, key=lambda email: after[email])
    track(shop.client, event(customer_email=silent))
    wait_until(lambda: read_risk(shop, silent)["score"] < after[silent], WAIT_SECONDS)
    assert read_risk(shop, silent)["model"] == model["name"]


def test_calibration_counts_each_risk_that_was_given_and_none_that_was_rebuilt(
    imported: Imported, shop: Reader
) -> None:
    """As if all had been imported a horizon ago: customers who were active in the rebuilt past and have lapsed don't
    count."""
    wait_until(imported.is_scored, WAIT_SECONDS, 0.2)
    horizon = shop.get(MODEL)["horizon_days"]
    active = [read_risk(shop, customer["email"]) for customer in shop.walk(state="active")]
    counted = [risk["probability"] for risk in active if risk["horizon_days"] == horizon]
    assert len(counted) > 10
    connection, account_id = imported.door.connection, imported.find_account_id("shop")
    connection.execute(
        "UPDATE risk_history SET at = at - %s * interval '1 day' FROM customers"
        " WHERE customers.customer_id = risk_history.customer_id AND account_id = %s",
        [horizon + 4, account_id],
    )
    imported.door.redis.delete(turn_key(account_id))

    def has_matured() -> bool:
        imported.command("worker", "train")  # does nothing while another such process runs
        return shop.get(MODEL)["matured"] is not None

    wait_until(has_matured, WAIT_SECONDS)
    matured = shop.get(MODEL)["matured"]
    assert (matured["horizon_days"], matured["snapshots"]) == (horizon, len(counted))
    assert sum(tenth["customers"] for tenth in matured["calibration"]) == len(counted)
    predicted = sum(tenth["customers"] * tenth["said"] for tenth in matured["calibration"])
    assert predicted == pytest.approx(sum(counted), abs=0.01)
