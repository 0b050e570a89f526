"""A history through one cell and through several: every answer and every page is the same."""

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import (
    LISTS,
    LONGER_LISTS,
    NOW,
    WEEK_AGO,
    at_one_moment,
    differences,
    history,
    read,
    read_all,
    sign_in,
    trouble,
)
from tests.cells.test_identities import identify
from tests.cells.test_learning import filled, train
from tests.workers.events import count
from workers import clock
from workers.learning import track_records
from workers.risk import rebuild, renewal, rescore, switch
from workers.risk.causes import DueCustomer
from workers.risk.renewal_state import Renewal
from workers.upkeep import totals


class Moment:
    """As of when scores are computed."""

    at = NOW


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Moment:
    """Scores are as of this moment whenever they are computed, so that those of two worlds are the same."""
    chosen = Moment()

    class AsOf(DueCustomer):
        @classmethod
        def _make(cls, columns: Iterable[Any]) -> DueCustomer:  # type: ignore[override]
            return DueCustomer(*columns)._replace(now=chosen.at.timestamp())

    monkeypatch.setattr(rescore, "DueCustomer", AsOf)
    for module in (renewal, switch):
        monkeypatch.setattr(module, "DueCustomer", lambda *columns: AsOf._make(columns))
    # A switch restates the risks of two weeks before it was asked for, and a world asks seconds after the other.
    monkeypatch.setattr(
        renewal, "Renewal", lambda *columns: Renewal(*columns)._replace(requested_at=chosen.at.timestamp())
    )
    return chosen


def fill(world: World) -> World:
    """Make a webhook, send the history, and score everybody."""
    hook = {"url": "https://example.com/hook", "min_level": "medium"}
    assert world.client.post("/api/v1/webhooks", json=hook).status_code == 201
    world.track(*history())
    world.work()
    return world


def tell(world: World, moment: Moment) -> World:
    """The history, and what follows it: user ids and traits, alerts, notes, refused events."""
    moment.at = NOW
    fill(world)
    moment.at = NOW + timedelta(seconds=10)
    for customer in range(0, 60, 7):
        known = {"user_id": f"user {customer}", "customer_email": f"c{customer}@example.com"}
        traits = {"name": f"Customer {customer}", "seats": customer}
        identify(world, **known, traits=traits)
    world.track({"event": "login", "user_id": "nobody yet", "timestamp": NOW.isoformat()})
    world.track(*trouble())
    world.work()
    for customer in (3, 4):
        handling = {"what": "noted", "text": f"called {customer}", "who": "Ann"}
        path = f"/api/v1/customers/c{customer}@example.com/handlings"
        assert world.client.post(path, json=handling).status_code == 201
    refused = {"event": "login", "customer_email": "c1@example.com", "timestamp": "yesterday"}
    assert world.client.post("/api/v1/track", json=refused).status_code == 422
    world.work()
    for place in world.places:
        rebuild.drain(place)
        totals.tally(place.connection())
    return world


def test_eight_cells_answer_as_one_does(make_world: MakeWorld, moment: Moment) -> None:
    one, eight = (tell(make_world(cells, rescore_seconds=0.0), moment) for cells in (1, 8))
    assert not (different := differences(one, eight)), "\n".join(different)
    listed = [customer["email"] for page in read_all(eight, LISTS[0]) for customer in page["customers"]]
    assert sorted(listed) == sorted({event["customer_email"] for event in (*history(), *trouble())})
    alerts = [alert for page in read_all(eight, "/api/v1/alerts?limit=3") for alert in page["alerts"]]
    assert len(alerts) > 3
    assert {delivery["state"] for alert in alerts for delivery in alert["deliveries"]} == {"waiting"}


def test_two_worlds_are_asked_at_the_same_moment(make_world: MakeWorld) -> None:
    """The chart of a risk ends now, so each of its points moves all the time."""
    world = fill(make_world(1))
    sign_in(world)
    pages = []
    for minutes in (0, 0, 60):
        with at_one_moment(NOW + timedelta(minutes=minutes)):
            pages.append(read(world, "/customers/c3@example.com"))
    first, same, later = pages
    assert first == same
    assert later[0] == 200
    assert first != later


@pytest.mark.usefixtures("moment")
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
            rescore.drain(place)
            while count(place.connection(), "renewals"):  # who is due since that moment stays so
                rescore.drain(place)
    assert not (different := differences(one, three, LONGER_LISTS)), "\n".join(different)


def test_levels_before_a_change_are_those_of_one_cell(make_world: MakeWorld, moment: Moment) -> None:
    """An event that stands for another one since today: the levels of the past are computed anew, in each cell."""
    one, four = (tell(make_world(cells, rescore_seconds=0.0), moment) for cells in (1, 4))
    for world in (one, four):
        mapped = {"mappings": {"report_shared": "feature_used"}}
        assert world.client.put("/api/v1/mappings", json=mapped).status_code == 200
        for _ in range(2):
            world.work()
    paths = ["/", "/mappings", "/api/v1/mappings", "/api/v1/analytics/risk", f"/customers?then=medium&on={WEEK_AGO}"]
    assert not (different := differences(one, four, [], paths)), "\n".join(different)
    for world in (one, four):
        assert sum(count(place.connection(), "levels_restated") for place in world.places) > 0


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
