"""One history through one cell and through several: every answer and every page is the same."""

import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import LISTS, NOW, differences, history, read_all, trouble
from tests.cells.test_learning import filled, train
from workers import clock
from workers.learning import track_records
from workers.risk import rebuild, rescore
from workers.risk.causes import DueCustomer
from workers.upkeep import totals


@pytest.fixture
def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are as of NOW whenever they are computed, so that those of two worlds are the same. Each customer has a
    moment of its own, so that alerts have an order."""

    class AsOfNow(DueCustomer):
        @classmethod
        def _make(cls, columns: Iterable[Any]) -> DueCustomer:  # type: ignore[override]
            customer = DueCustomer(*columns)
            return customer._replace(now=NOW.timestamp() + int(customer.customer_id[:8], 16) / 2**32)

    monkeypatch.setattr(rescore, "DueCustomer", AsOfNow)


def fill(world: World) -> World:
    """Make a webhook, send the history, and score everybody."""
    hook = {"url": "https://example.com/hook", "min_level": "medium"}
    assert world.client.post("/api/v1/webhooks", json=hook).status_code == 201
    world.track(*history())
    world.work()
    return world


def tell(world: World) -> World:
    """The history, and what follows it: user ids and traits, alerts, notes, other names, refused events."""
    fill(world)
    for customer in range(0, 60, 7):
        known = {"user_id": f"user {customer}", "customer_email": f"c{customer}@example.com"}
        traits = {"name": f"Customer {customer}", "seats": customer}
        assert world.client.post("/api/v1/identify", json={**known, "traits": traits}).status_code == 200
    world.track({"event": "login", "user_id": "nobody yet", "timestamp": NOW.isoformat()})
    world.track(*trouble())
    world.work()
    for customer in (3, 4):
        handling = {"what": "noted", "text": f"called {customer}", "who": "Ann"}
        path = f"/api/v1/customers/c{customer}@example.com/handlings"
        assert world.client.post(path, json=handling).status_code == 201
    assert world.client.put("/api/v1/mappings", json={"mappings": {"report_shared": "feature_used"}}).status_code == 200
    refused = {"event": "login", "customer_email": "c1@example.com", "timestamp": "yesterday"}
    assert world.client.post("/api/v1/track", json=refused).status_code == 422
    world.work()
    for place in world.places:
        rebuild.drain(place)
        totals.tally(place.connection())
    return world


@pytest.mark.usefixtures("at_one_moment")
def test_eight_cells_answer_as_one_does(make_world: MakeWorld) -> None:
    one, eight = (tell(make_world(cells, rescore_seconds=0.0)) for cells in (1, 8))
    assert differences(one, eight) == []
    listed = [customer["email"] for page in read_all(eight, LISTS[0]) for customer in page["customers"]]
    assert sorted(listed) == sorted({event["customer_email"] for event in history()})
    alerts = [alert for page in read_all(eight, "/api/v1/alerts?limit=3") for alert in page["alerts"]]
    assert len(alerts) > 3
    assert {delivery["state"] for alert in alerts for delivery in alert["deliveries"]} == {"waiting"}


@pytest.mark.usefixtures("at_one_moment")
def test_cells_answer_as_one_does_with_a_trained_model(make_world: MakeWorld) -> None:
    one, three = (filled(make_world(cells)) for cells in (1, 3))
    now = time.time()
    for world in (one, three):
        train(world, now)
        with world.process.cell_connections() as cells:
            track_records.compute(world.process.connection(), 1, world.settings.levels, now=now, cells=cells)
        for place in world.places:
            if world is three:
                clock.mirror_home(place)
            while rescore.drain(place):
                pass
    assert differences(one, three) == []


def test_what_is_done_about_a_customer_is_kept_in_the_cell(make_world: MakeWorld) -> None:
    world = fill(make_world(8))
    path = "/api/v1/customers/c3@example.com/handlings"
    assert world.client.post(path, json={"what": "noted", "text": "called", "who": "Ann"}).status_code == 201
    (noted,) = world.client.get(path).json()["handlings"]
    assert (noted["what"], noted["text"], noted["who"]) == ("noted", "called", "Ann")


def test_a_name_that_any_cell_knows_can_be_mapped(make_world: MakeWorld) -> None:
    world = make_world(8)
    world.track({"event": "Signed In", "customer_email": "c1@example.com"})
    world.work()
    assert world.client.put("/api/v1/mappings", json={"mappings": {"Signed In": "login"}}).status_code == 200
    assert world.client.put("/api/v1/mappings", json={"mappings": {"signed in": "login"}}).status_code == 422
