"""The Postgres of one cell is away: what is told about all customers is refused and not told in part; the customers of
other cells, and what belongs to the account, can be read."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api import pool
from api.app import create_app
from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import history, read, sign_in
from tests.waiting import wait_until
from workers.buffer.entries import hash_customer
from workers.cells import cell_of

CELLS, AWAY = 4, 2
NOWHERE = "postgresql://nobody@/windback?host=/nowhere"
WHOLE = [
    "/api/v1/customers",
    "/api/v1/analytics/events",
    "/api/v1/analytics/events/login",
    "/api/v1/analytics/risk",
    "/api/v1/model/track-record",
    "/api/v1/alerts",
    "/api/v1/alerts/effect",
    "/customers.csv",
    "/money.csv",
    "/",
    "/customers",
    "/events",
    "/companies",
]
ACCOUNTS = ["/api/v1/webhooks", "/api/v1/drafts/templates", "/api/v1/warnings", "/settings", "/keys", "/docs"]


@pytest.fixture
def whole(make_world: MakeWorld) -> World:
    """A world of several cells, all of them there."""
    world = make_world(CELLS)
    world.track(*history())
    world.work()
    return world


@pytest.fixture
def crippled(whole: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The same world, as a web process sees it while a cell's Postgres is away."""
    monkeypatch.setattr(pool, "POOL_WAIT_SECONDS", 0.5)
    urls = [cell.database_url for cell in whole.settings.all_cells]
    urls[AWAY] = NOWHERE
    settings = whole.settings.changed(cell_database_urls=" ".join(urls))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        client.headers["X-API-Key"] = whole.client.headers["X-API-Key"]
        here = next(email for email in _list_emails() if not is_away(email))
        wait_until(lambda: client.get(f"/api/v1/customers/{here}").status_code == 200)  # until it is connected
        yield whole._replace(client=client)


def _list_emails() -> list[str]:
    return sorted({event["customer_email"] for event in history()})


def is_away(email: str) -> bool:
    return cell_of(hash_customer(1, email), CELLS) == AWAY


def test_what_all_cells_tell_is_refused(crippled: World) -> None:
    sign_in(crippled)
    for path in WHOLE:
        answer = crippled.client.get(path)
        assert answer.status_code == 503, path
        assert f"cell {AWAY:03} is not available" in answer.text, path
        assert answer.headers["Retry-After"] == "5"


def test_customers_of_other_cells_are_read(whole: World, crippled: World) -> None:
    for world in (whole, crippled):
        sign_in(world)
    emails = _list_emails()
    here = next(email for email in emails if not is_away(email))
    away = next(email for email in emails if is_away(email))
    for path in ("/api/v1/customers/{}", "/api/v1/customers/{}/events", "/api/v1/customers/{}/risk", "/customers/{}"):
        assert read(crippled, path.format(here)) == read(whole, path.format(here))
        answer = crippled.client.get(path.format(away))
        assert (answer.status_code, f"cell {AWAY:03} is not available" in answer.text) == (503, True)


def test_what_belongs_to_the_account_is_read(crippled: World) -> None:
    sign_in(crippled)
    for path in ACCOUNTS:
        assert crippled.client.get(path).status_code == 200, path


def test_events_are_accepted_and_the_service_is_ready(crippled: World) -> None:
    crippled.track(*({**event, "event_id": f"again-{n}"} for n, event in zip(range(50), history(), strict=False)))
    assert crippled.client.get("/readyz").status_code == 200
    shown = crippled.client.get("/metrics")
    assert shown.status_code == 200
    assert f'cell="{AWAY:03}"' in shown.text


def samples(client: TestClient) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {" ".join([each.name, *each.labels.values()]): each.value for family in families for each in family.samples}


def test_metrics_name_the_postgres_that_is_away(crippled: World) -> None:
    places = ["home", *(f"{number:03}" for number in range(CELLS))]
    up = {place: float(place != f"{AWAY:03}") for place in places}

    def find_connected() -> dict[str, float] | None:
        shown = samples(crippled.client)
        return shown if {place: shown[f"windback_server_up {place} postgres"] for place in places} == up else None

    shown = wait_until(find_connected)
    assert shown
    assert all(shown[f"windback_server_up {place} redis"] for place in places)
    assert shown["windback_events_accepted_total history"] > 0


def test_no_counter_goes_back_while_a_buffer_is_away(whole: World) -> None:
    """It would be taken for a restart, and what it lacks for new events as soon as it is there again."""
    assert samples(whole.client)["windback_events_stored_total"] > 0
    urls = [whole.settings.redis_url or ""] * CELLS
    urls[AWAY] = "redis://127.0.0.1:1"
    with TestClient(create_app(whole.settings.changed(cell_buffer_urls=" ".join(urls)))) as client:
        shown = samples(client)
    assert [place for place in range(CELLS) if not shown[f"windback_server_up {place:03} redis"]] == [AWAY]
    assert not any(name.startswith("windback_events_stored") for name in shown)
    assert not any(name.startswith("windback_events_accepted") for name in shown)
    assert shown["windback_events_unaccounted"] == 0
    assert shown["windback_buffer_events 001 live"] == 0
