from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.sending import track
from tests.workers.events import event
from workers.accounts import keys
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest import ingest
from workers.store import Connection

CUSTOMERS = "/api/v1/customers"


def pages(client: TestClient, **parameters: Any) -> Iterator[list[dict[str, Any]]]:
    cursor = None
    while True:
        response = client.get(CUSTOMERS, params={**parameters, **({"cursor": cursor} if cursor else {})})
        assert response.status_code == 200, response.text
        yield response.json()["customers"]
        cursor = response.json()["next_cursor"]
        if cursor is None:
            return


@pytest.fixture
def seven(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """Seven customers whose silence differs; two are exactly alike."""
    for n, days in enumerate([1, 2, 3, 5, 8, 13, 13]):
        track(
            acme,
            *[event(customer_email=f"c{n}@example.com", timestamp=f"2025-11-{28 - day:02}") for day in range(days)],
        )
    work()
    return acme


def test_a_customer_is_told_whole(acme: TestClient, work: Callable[[], None]) -> None:
    track(
        acme,
        event(timestamp="2025-12-01T09:00:00Z"),
        event(event="feature_used", timestamp="2025-12-01T09:05:00Z", properties={"feature": "dashboard"}),
        event(event="support_ticket_opened", timestamp="2025-12-01T09:30:00Z", properties={"subject": "Cannot export"}),
    )
    work()
    customer = acme.get(f"{CUSTOMERS}/Jane@Example.com").json()
    risk, advice = customer.pop("risk"), customer.pop("advice")
    assert customer == {
        "email": "jane@example.com",
        "first_seen": "2025-12-01T09:00:00Z",
        "last_seen": "2025-12-01T09:30:00Z",
        "last_active": "2025-12-01T09:05:00Z",
        "events": {"feature_used": 1, "login": 1, "support_ticket_opened": 1},
        "plan": None,
        "open_tickets": 1,
        "overdue_since": None,
        "nps": None,
        "name": None,
        "company": None,
        "mrr": None,
        "currency": None,
        "mrr_at_risk": None,
        "traits": {},
        "user_ids": [],
    }
    assert risk.keys() == {
        "score", "probability", "level", "state", "horizon_days", "model", "scored_at", "low_confidence",
        "stale_input", "reasons",
    }  # fmt: skip
    assert risk["score"] == pytest.approx(risk["probability"] * 100, abs=0.06)
    assert risk["scored_at"].endswith("Z")
    assert {"signal", "points", "text"} == risk["reasons"][0].keys()
    assert {"strategy", "urgency", "why", "facts"} <= advice.keys()


def test_before_its_first_score_a_customer_has_no_risk(acme: TestClient, process: Any) -> None:
    track(acme, event())
    ingest.drain(process, LIVE)
    assert acme.get(f"{CUSTOMERS}/jane@example.com").json()["risk"] is None
    assert acme.get(CUSTOMERS).json()["customers"][0]["risk"] is None


@pytest.mark.parametrize("email", ["nobody@example.com", "x", "a%00b@c.de", "é@example.com"])
def test_a_stranger_is_not_found(acme: TestClient, email: str) -> None:
    for path in (email, f"{email}/events", f"{email}/risk"):
        response = acme.get(f"{CUSTOMERS}/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "customer_not_found")


def test_another_accounts_customer_is_a_stranger(
    acme: TestClient, work: Callable[[], None], connection: Connection, redis: Redis
) -> None:
    track(acme, event())
    work()
    acme.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert acme.get(f"{CUSTOMERS}/jane@example.com").status_code == 404
    assert acme.get(CUSTOMERS).json() == {"customers": [], "next_cursor": None}


@pytest.mark.parametrize("path", ["", "/jane@example.com", "/jane@example.com/events", "/jane@example.com/risk"])
def test_reading_needs_a_key(client: TestClient, path: str) -> None:
    response = client.get(CUSTOMERS + path)
    assert (response.status_code, response.json()["code"]) == (401, "missing_api_key")


@pytest.mark.parametrize("sort", ["risk", "-risk", "last_seen", "-last_seen", "email", "-email", "-urgency", "risen"])
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_pages_add_up_to_the_whole_list_in_order(seven: TestClient, sort: str, limit: int) -> None:
    (whole,) = pages(seven, sort=sort)
    assert len({customer["email"] for customer in whole}) == 7
    assert [customer for page in pages(seven, sort=sort, limit=limit) for customer in page] == whole

    def position(customer: dict[str, Any]) -> Any:
        name = sort.removeprefix("-")
        if name in ("urgency", "risen"):
            return 0  # see test_lists.py
        return customer["risk"]["score"] if name == "risk" else customer[name]

    assert [position(one) for one in whole] == sorted(map(position, whole), reverse=sort.startswith("-"))


def test_the_riskiest_come_first_unless_told_otherwise(seven: TestClient) -> None:
    assert list(pages(seven)) == list(pages(seven, sort="-risk"))
    first = seven.get(CUSTOMERS).json()["customers"][0]
    trait_fields = {"name", "company", "mrr", "currency", "mrr_at_risk"}
    assert first.keys() == {"email", "first_seen", "last_seen", "last_active", "plan", "risk", "risen", *trait_fields}
    assert {first[name] for name in trait_fields} == {None}
    assert first["risk"].keys() == {"score", "level", "state", "reason"}


def test_the_list_is_filtered_by_level_and_by_the_start_of_the_email(seven: TestClient) -> None:
    (whole,) = pages(seven)
    level = whole[0]["risk"]["level"]
    (matching,) = pages(seven, level=level)
    assert matching == [customer for customer in whole if customer["risk"]["level"] == level]
    assert [customer["email"] for page in pages(seven, email="C3") for customer in page] == ["c3@example.com"]
    assert list(pages(seven, email="%")) == [[]]


@pytest.mark.parametrize(
    "parameters",
    [{"limit": "0"}, {"limit": "x"}, {"limit": "1001"}, {"limit": "-1"}, {"limit": "9" * 30}, {"sort": "name"},
     {"level": "huge"}, {"cursor": "x"}, {"cursor": "bnVsbA"}, {"cursor": "WyJlbWFpbCIsICJhIiwgIngiXQ"}],
)  # fmt: skip
def test_a_wrong_parameter_is_told(acme: TestClient, parameters: dict[str, str]) -> None:
    response = acme.get(CUSTOMERS, params=parameters)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert next(iter(parameters)) in response.json()["message"]


def test_a_cursor_belongs_to_its_sort(seven: TestClient) -> None:
    cursor = seven.get(CUSTOMERS, params={"sort": "email", "limit": 1}).json()["next_cursor"]
    assert seven.get(CUSTOMERS, params={"sort": "-email", "cursor": cursor}).status_code == 422


def test_the_timeline_is_paged_newest_first(acme: TestClient, work: Callable[[], None]) -> None:
    track(acme, *[event(timestamp=f"2025-11-{day:02}", properties={"n": day}) for day in range(1, 10)])
    work()
    numbers: list[int] = []
    parameters: dict[str, Any] = {"limit": 4}
    while True:
        page = acme.get(f"{CUSTOMERS}/jane@example.com/events", params=parameters).json()
        numbers += [one["properties"]["n"] for one in page["events"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert numbers == list(range(9, 0, -1))


@pytest.mark.parametrize("sort", ["email", "-email", "-last_seen"])
def test_pages_stay_right_while_customers_change(seven: TestClient, work: Callable[[], None], sort: str) -> None:
    """Others come and go between two pages: whoever stays as they are is there once."""
    stay = [f"c{n}@example.com" for n in range(7) if n != 3]
    seen: list[str] = []
    for number, page in enumerate(pages(seven, sort=sort, limit=2)):
        seen += [customer["email"] for customer in page]
        if number == 0:
            assert seven.delete(f"{CUSTOMERS}/c3@example.com").status_code == 202
            newcomers = [f"{letter}{number}@example.com" for letter in "az"]
            track(seven, *[event(customer_email=email, timestamp="2025-11-20") for email in newcomers])
            work()
    assert sorted(email for email in seen if email in stay) == stay
    assert len(seen) == len(set(seen))


def test_a_timeline_stays_right_while_events_come(acme: TestClient, work: Callable[[], None]) -> None:
    """New ones and late ones: those that were there are each there once."""
    track(acme, *[event(timestamp=f"2025-11-{day:02}", properties={"n": day}) for day in range(1, 10)])
    work()
    path = f"{CUSTOMERS}/jane@example.com/events"
    first = acme.get(path, params={"limit": 4}).json()
    track(acme, event(timestamp="2025-11-20"), event(timestamp="2025-11-08T12:00:00Z"))
    work()
    rest = acme.get(path, params={"limit": 100, "cursor": first["next_cursor"]}).json()
    assert [one["properties"]["n"] for one in first["events"] + rest["events"]] == list(range(9, 0, -1))


def test_how_the_risk_moved_can_be_read(acme: TestClient, work: Callable[[], None]) -> None:
    track(acme, event())
    work()
    path = f"{CUSTOMERS}/jane@example.com/risk"
    (moved,) = acme.get(path).json()["risk"]
    assert moved.keys() == {"at", "score", "level"}
    assert acme.get(path, params={"from": moved["at"]}).json()["risk"] == [moved]
    assert acme.get(path, params={"to": "2020-01-01"}).json()["risk"] == []
    assert acme.get(path, params={"from": "yesterday"}).json()["code"] == "invalid_parameter"


def test_last_seen_is_told_before_the_next_score(acme: TestClient, work: Callable[[], None], process: Any) -> None:
    track(acme, event(timestamp="2025-12-01T10:00:00.000001Z"))
    ingest.drain(process, HISTORY)
    track(acme, event(timestamp="2025-12-02T10:00:00.000007Z"))
    ingest.drain(process, HISTORY)
    assert acme.get(f"{CUSTOMERS}/jane@example.com").json()["last_seen"] == "2025-12-02T10:00:00.000007Z"
    assert acme.get(CUSTOMERS).json()["customers"][0]["last_seen"] == "2025-12-02T10:00:00.000007Z"
    work()
    assert acme.get(f"{CUSTOMERS}/jane@example.com").json()["last_seen"] == "2025-12-02T10:00:00.000007Z"
