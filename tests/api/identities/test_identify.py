"""`POST /api/v1/identify`, `user_id` in track, and merging."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from workers.accounts import keys
from workers.store import Connection

JANE = "jane@example.com"


def identify(client: TestClient, **fields: Any) -> tuple[int, Any]:
    answer = client.post("/api/v1/identify", json=fields)
    return answer.status_code, answer.json()


def track(client: TestClient, **fields: Any) -> int:
    return client.post("/api/v1/track", json={"event": "login", **fields}).status_code


def shown(client: TestClient, email: str) -> dict[str, int] | None:
    answer = client.get(f"/api/v1/customers/{email}")
    return dict(answer.json()["events"]) if answer.status_code == 200 else None


def test_events_of_a_user_id_are_the_customers_whose_it_is(acme: TestClient, work: Callable[[], None]) -> None:
    assert track(acme, user_id="u1") == 200
    work()
    assert shown(acme, JANE) is None
    assert identify(acme, user_id="u1", customer_email=" Jane@Example.com ") == (200, {"status": "ok"})
    work()
    assert track(acme, user_id="u1") == 200
    work()
    assert shown(acme, JANE) == {"login": 2}


def test_a_batch_of_identities_is_taken_as_far_as_it_is_valid(acme: TestClient, work: Callable[[], None]) -> None:
    identities = [{"user_id": "u1", "customer_email": JANE}, {"user_id": "u2", "customer_email": "nobody"}, {}]
    status, answer = identify(acme, identities=identities)
    assert (status, answer["accepted"]) == (207, 1)
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [
        (1, "customer_email_invalid"),
        (2, "user_id_invalid"),
    ]
    track(acme, user_id="u1")
    work()
    assert shown(acme, JANE) == {"login": 1}
    assert acme.get("/api/v1/warnings").json()["counts"]["customer_email_invalid"] == 1


def test_half_of_a_surrogate_pair_costs_its_identity_alone(acme: TestClient) -> None:
    identities = [{"user_id": "u1", "customer_email": JANE}, {"user_id": "u2", "traits": {"name": "x \ud83d"}}]
    answer = acme.post("/api/v1/identify", content=json.dumps({"identities": identities}).encode())
    assert (answer.status_code, answer.json()["accepted"]) == (207, 1)
    assert [(each["index"], each["code"]) for each in answer.json()["rejected"]] == [(1, "traits_invalid")]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user_id": ""},
        {"user_id": "  "},
        {"user_id": "x" * 201},
        {"user_id": 7},
        {"user_id": "a\nb"},
        {"customer_email": "nobody"},
        {"user_id": "u", "traits": []},
        {"user_id": "u", "traits": {"a": "x" * 33_000}},
        {"user_id": "u", "traits": {"a": "\0"}},
        {"user_id": "u", "timestamp": "yesterday"},
        {"identities": []},
        {"identities": "u"},
        {"user_id": "u", "identities": [{"user_id": "u"}]},
    ],
)
def test_an_identity_that_is_none_is_refused(acme: TestClient, fields: dict[str, Any]) -> None:
    status, answer = identify(acme, **fields)
    assert (status, answer["code"]) == (422, "invalid_identity")
    assert answer["rejected"]


def test_over_100_identities_are_too_many(acme: TestClient) -> None:
    assert identify(acme, identities=[{"user_id": f"u{n}"} for n in range(101)])[0] == 413


def test_identities_need_a_secret_key(acme: TestClient, connection: Connection, redis: Redis) -> None:
    acme.headers["X-API-Key"] = keys.create(connection, redis, "acme", publishable=True).secret
    assert identify(acme, user_id="u")[0] == 403
    assert track(acme, user_id="u") == 200


@pytest.mark.parametrize("user_id", ["", " ", "x" * 201, 5, "a\x00b"])
def test_a_user_id_that_is_none_is_refused_by_track(acme: TestClient, user_id: Any) -> None:
    answer = acme.post("/api/v1/track", json={"event": "login", "user_id": user_id})
    assert (answer.status_code, answer.json()["rejected"][0]["code"]) == (422, "user_id_invalid")


def test_an_address_may_stand_beside_a_user_id_and_is_what_counts(acme: TestClient, work: Callable[[], None]) -> None:
    assert track(acme, user_id="u1", customer_email=JANE) == 200
    work()
    assert shown(acme, JANE) == {"login": 1}


def test_two_customers_are_merged_and_stay_merged(acme: TestClient, work: Callable[[], None]) -> None:
    for email, times in (("old@example.com", 2), (JANE, 1)):
        for number in range(times):
            track(acme, customer_email=email, timestamp=f"2026-01-0{number + 1}")
    work()
    for events in (2, 0):
        answer = acme.post("/api/v1/customers/old@example.com/merge", json={"into": JANE})
        assert (answer.status_code, answer.json()["email"]) == (200, JANE)
        assert answer.json()["events"] <= events
    assert shown(acme, JANE) == {"login": 2}  # one of them was the same
    assert shown(acme, "old@example.com") is None
    track(acme, customer_email="old@example.com")
    work()
    assert shown(acme, JANE) == {"login": 3}
    counted = acme.get("/api/v1/analytics/events").json()["events"]
    assert [(each["count"], each["customers"]) for each in counted] == [(3, 1)]


@pytest.mark.parametrize(
    ("email", "body", "status"),
    [
        ("nobody@example.com", {"into": JANE}, 404),
        (JANE, {"into": JANE}, 422),
        (JANE, {"into": "nobody"}, 422),
        (JANE, {}, 422),
    ],
)
def test_a_merge_that_makes_no_sense_is_refused(
    acme: TestClient, work: Callable[[], None], email: str, body: dict[str, str], status: int
) -> None:
    track(acme, customer_email=JANE)
    work()
    assert acme.post(f"/api/v1/customers/{email}/merge", json=body).status_code == status


def test_the_overview_says_that_events_wait(acme: TestClient, key: Any, work: Callable[[], None]) -> None:
    acme.post("/sign-in", data={"key": key.secret})
    track(acme, customer_email=JANE)
    track(acme, user_id="u1")
    work()
    assert "1 event of 1 user id without an address" in acme.get("/").text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("jane@m\u00fcller.example", "jane@mu\u0308ller.example"),
        ("jane@m\u00fcller.example", "jane@xn--mller-kva.example"),
        ("jos\u00e9@example.com", "jose\u0301@example.com"),
        ("jane@M\u00dcLLER.example", "jane@xn--mller-kva.EXAMPLE"),
        ("jane@stra\u00dfe.example", "jane@xn--strae-oqa.example"),
    ],
)
def test_an_address_is_one_customer_however_it_is_written(
    acme: TestClient, work: Callable[[], None], first: str, second: str
) -> None:
    assert track(acme, customer_email=first) == track(acme, customer_email=second) == 200
    work()
    assert shown(acme, first) == {"login": 2} == shown(acme, second)
