import json
from collections.abc import Callable

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.command_line import Run
from tests.workers.events import count, event
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.settings import Settings
from workers.store import Connection

JANE = "/api/v1/customers/jane@example.com"


def test_an_erased_customer_is_not_found_until_something_new_comes(acme: TestClient, work: Callable[[], None]) -> None:
    for _ in range(2):
        acme.post("/api/v1/track", json=event())
        work()
        assert acme.get(f"{JANE}/events").json()["events"][1:] == []
        erased = acme.delete("/api/v1/customers/Jane@Example.com")
        assert (erased.status_code, erased.json()["erased"]["events"]) == (202, 1)
        for path in (JANE, f"{JANE}/events", f"{JANE}/risk"):
            assert acme.get(path).status_code == 404


def test_what_waits_in_the_buffer_is_erased(acme: TestClient, work: Callable[[], None], connection: Connection) -> None:
    acme.post("/api/v1/track", json=event())
    assert acme.delete(JANE).status_code == 202
    work()
    assert count(connection, "events") == 0


def test_erasing_may_be_repeated_and_be_done_to_a_stranger(acme: TestClient) -> None:
    first, second = acme.delete(JANE), acme.delete(JANE)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json().keys() == {"erasure_id", "erased_at", "erased"}
    assert not any(second.json()["erased"].values())


@pytest.mark.parametrize("path", [f"{JANE}/events", f"{JANE}/risk", "/api/v1/customers/x"])
def test_what_is_no_address_is_not_erased(acme: TestClient, path: str) -> None:
    assert (acme.delete(path).status_code, acme.delete(path).json()["code"]) == (404, "customer_not_found")


def test_erasing_needs_a_secret_key(client: TestClient, connection: Connection, redis: Redis) -> None:
    assert client.delete(JANE).status_code == 401
    public = keys.create(connection, redis, "acme", publishable=True).secret
    assert client.delete(JANE, headers={"X-API-Key": public}).json()["code"] == "key_not_allowed"


def test_without_postgres_an_erasure_is_refused_and_may_be_tried_again(
    settings: Settings, key: NewKey, redis_url: str
) -> None:
    away = Settings(database_url="postgresql://127.0.0.1:1/nowhere", redis_url=redis_url)
    with TestClient(create_app(away), headers={"X-API-Key": key.secret}) as client:
        refused = client.delete(JANE)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")


def test_the_command_erases_as_the_route_does(
    run: Run, acme: TestClient, work: Callable[[], None], connection: Connection, redis: Redis
) -> None:
    acme.post("/api/v1/track", json=event())
    work()
    assert json.loads(run("customers erase jane@example.com").stdout)["erased"]["events"] == 1
    keys.create(connection, redis, "other")
    several = run("customers erase jane@example.com")
    assert (several.exit_code, "acme, other" in several.stderr) == (1, True)
    assert run("customers erase jane@example.com --account other").exit_code == 0
    assert run("customers erase jane@example.com --account nobody").exit_code == 1
    assert run("customers erase jane").exit_code == 2
    assert count(connection, "erasures") == 2
