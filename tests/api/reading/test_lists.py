"""Filters and orders of lists: by state, level, plan, rise, any part of the address; and refusals."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.sending import ago, track
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

CUSTOMERS = "/api/v1/customers"


def emails(client: TestClient, **parameters: Any) -> list[str]:
    answer = client.get(CUSTOMERS, params=parameters)
    assert answer.status_code == 200, answer.text
    return [customer["email"].partition("@")[0] for customer in answer.json()["customers"]]


def refusal(client: TestClient, path: str, **parameters: Any) -> str:
    answer = client.get(path, params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter"), answer.text
    return str(answer.json()["message"])


@pytest.fixture
def company(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """Anna comes daily; Ben came daily until 12 days ago; Cleo is long gone; Dora has only begun a trial."""
    days = {"anna@acme.com": range(60), "ben.quinn@acme.com": range(12, 60), "cleo@globex.com": range(150, 200)}
    sent = [
        event(customer_email=email, timestamp=ago(days=day, minutes=1), properties={"plan": email[0]})
        for email, active in days.items()
        for day in active
    ]
    sent.append(event(event="trial_started", customer_email="dora@acme.com", timestamp=ago(days=2)))
    track(acme, *sent)
    work()
    return acme


def test_states_levels_and_plans_are_filters_and_may_be_several(company: TestClient) -> None:
    assert emails(company, state="lapsed") == ["cleo"]
    assert sorted(emails(company, state="active,new")) == ["anna", "ben.quinn", "dora"]
    assert emails(company, plan="b") == ["ben.quinn"]
    assert emails(company, plan="nothing") == []
    assert sorted(emails(company, level="low,medium,high,critical", state="active")) == ["anna", "ben.quinn"]
    assert emails(company, level="low", state="active") == ["anna"]


@pytest.mark.parametrize(
    ("part", "matches"),
    [
        ("quinn", ["ben.quinn"]),
        ("@globex.com", ["cleo"]),
        ("GLOBEX", ["cleo"]),
        ("n@a", ["ben.quinn"]),
        ("_", []),
        ("%", []),
        ("a@", ["anna", "dora"]),
        ("", ["anna", "ben.quinn", "cleo", "dora"]),
    ],
)
def test_any_part_of_an_address_is_searched_for(company: TestClient, part: str, matches: list[str]) -> None:
    assert emails(company, search=part, sort="email") == matches


@pytest.mark.parametrize(
    "query", ["email=jane+x", "email=jane%2Bx", "search=e+x@ex", "search=+jane%2Bx+", "email=JANE+X", "search=jane%20x"]
)
def test_a_plus_sign_may_stand_as_it_is(acme: TestClient, work: Callable[[], None], query: str) -> None:
    """In a query it means a blank, and no address holds one."""
    track(acme, event(customer_email="jane+x@example.com"), event(customer_email="jane@example.com"))
    work()
    customers = acme.get(f"/api/v1/customers?{query}").json()["customers"]
    assert [customer["email"] for customer in customers] == ["jane+x@example.com"]


def test_a_search_follows_customers_who_come_and_go(company: TestClient, work: Callable[[], None]) -> None:
    track(company, event(customer_email="new.quinn@acme.com"))
    work()
    assert sorted(emails(company, search="quinn")) == ["ben.quinn", "new.quinn"]
    company.delete(f"{CUSTOMERS}/ben.quinn@acme.com")
    assert emails(company, search="quinn") == ["new.quinn"]


def test_who_rose_is_told_by_the_model_of_now(company: TestClient, connection: Connection) -> None:
    """Ben was no risk two weeks ago: that is computed anew, and does not rest on what was recorded."""
    assert emails(company, risen=20, since="14d") == []  # nothing was recorded then
    assert emails(company, risen=20) == ["ben.quinn"]
    ben = company.get(CUSTOMERS, params={"sort": "-risen", "limit": 1}).json()["customers"][0]
    assert (ben["email"], ben["risen"] > 20, ben["risen"] < ben["risk"]["score"]) == ("ben.quinn@acme.com", True, True)
    assert emails(company, risen=100) == []
    connection.execute("""
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, now() - interval '8 days', probability - 0.1, 'low', 'active', model FROM customers
        WHERE email LIKE 'ben%' UNION ALL
        SELECT customer_id, now() - interval '7 days 12 hours', 0, 'low', 'active', 'another-9' FROM customers
    """)
    assert emails(company, risen=9, since="7d") == ["ben.quinn"]
    assert emails(company, risen=11, since="7d") == []
    assert emails(company, risen=9, since=ago(days=7)) == ["ben.quinn"]
    assert emails(company, risen=9, since="9d") == []


def test_advice_is_included_where_it_is_asked_for(company: TestClient) -> None:
    (ben,) = company.get(CUSTOMERS, params={"email": "ben", "include": "advice"}).json()["customers"]
    assert {"strategy", "urgency", "why", "facts"} <= ben["advice"].keys()
    assert datetime.fromisoformat(ben["advice"]["facts"]["last_active"]).tzinfo is not None
    (ben,) = company.get(CUSTOMERS, params={"email": "ben"}).json()["customers"]
    assert "advice" not in ben


def test_last_active_is_the_last_use_and_last_seen_the_last_event(
    company: TestClient, work: Callable[[], None]
) -> None:
    track(company, event(event="invoice_paid", customer_email="ben.quinn@acme.com", timestamp=ago(hours=3)))
    work()
    (ben,) = company.get(CUSTOMERS, params={"email": "ben"}).json()["customers"]
    active, seen = (datetime.fromisoformat(ben[name]) for name in ("last_active", "last_seen"))
    assert timedelta(days=12) < datetime.now(UTC) - active < timedelta(days=12, hours=1)
    assert timedelta(hours=3) < datetime.now(UTC) - seen < timedelta(hours=4)
    (dora,) = company.get(CUSTOMERS, params={"email": "dora"}).json()["customers"]
    assert dora["last_active"] is None


def test_urgency_is_risk_rise_and_value(company: TestClient, work: Callable[[], None], connection: Connection) -> None:
    """risk * (0.5 + rise) * log10(10 + value); lapsed customers come last."""
    twins = [
        event(customer_email=f"{name}@acme.com", timestamp=ago(days=day, minutes=1))
        for name in ("poor", "rich")
        for day in range(12, 60)
    ]
    bills = [
        event(
            event="invoice_paid",
            customer_email=f"{name}@acme.com",
            timestamp=ago(days=20),
            properties={"amount": amount},
        )
        for name, amount in {"poor": 9, "rich": 900}.items()
    ]
    track(company, *twins, *bills)
    work()
    order = emails(company, sort="-urgency")
    assert order.index("rich") < order.index("poor") < order.index("anna")
    assert order[-1] == "cleo"
    rows = connection.execute("SELECT urgency, probability, risen, paid FROM customers WHERE email LIKE '%ich%'")
    ((urgency, risk, risen, paid),) = rows.fetchall()
    assert (paid, urgency) == (900, pytest.approx(risk * (0.5 + risen) * 2.959, rel=1e-3))


def test_the_first_point_is_the_risk_in_force_then(company: TestClient, connection: Connection) -> None:
    connection.execute("""
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, now() - days * interval '1 day', days / 100.0, 'low', 'active', 'prior-1'
        FROM customers CROSS JOIN (VALUES (30), (20), (10)) AS past (days) WHERE email LIKE 'ben%'
    """)
    path = f"{CUSTOMERS}/ben.quinn@acme.com/risk"
    assert [risk["score"] for risk in company.get(path, params={"from": ago(days=15)}).json()["risk"]][:2] == [20, 10]
    between = {"from": ago(days=25), "to": ago(days=15)}
    assert [risk["score"] for risk in company.get(path, params=between).json()["risk"]] == [30, 20]
    assert company.get(path, params={"from": ago(days=40)}).json()["risk"][0]["score"] == 30


@pytest.mark.parametrize(
    ("path", "name", "nearest"),
    [
        (CUSTOMERS, "stat", "state"),
        (CUSTOMERS, "Levels", "level"),
        (CUSTOMERS, "emails", "email"),
        (f"{CUSTOMERS}/anna@acme.com/events", "limits", "limit"),
        (f"{CUSTOMERS}/anna@acme.com/risk", "since", ""),
        ("/api/v1/analytics/events", "frm", "from"),
        ("/api/v1/analytics/events/login", "intervall", "interval"),
        ("/api/v1/analytics/risk", "form", "from"),
        ("/customers.csv", "sorted", "sort"),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_one(
    acme: TestClient, path: str, name: str, nearest: str
) -> None:
    message = refusal(acme, path, **{name: "1"})
    assert f"`{name}`" in message
    assert f"did you mean `{nearest}" in message


@pytest.mark.parametrize("path", [CUSTOMERS, "/customers.csv"])
def test_a_parameter_that_comes_twice_is_refused(acme: TestClient, path: str) -> None:
    """Only one of the two would count, without a word."""
    answer = acme.get(f"{path}?level=high&level=critical")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")
    assert answer.json()["message"].startswith("`level` may be sent once")


@pytest.mark.parametrize("name", ["plan", "company", "currency", "email", "search"])
def test_a_filter_with_the_character_nul_is_refused_by_name(acme: TestClient, name: str) -> None:
    assert f"`{name}`" in refusal(acme, CUSTOMERS, **{name: "a\0"})


@pytest.mark.parametrize(
    "path", [f"{CUSTOMERS}/anna@acme.com", "/api/v1/model", "/api/v1/warnings", "/api/v1/mappings"]
)
def test_a_route_without_parameters_takes_none(acme: TestClient, path: str) -> None:
    assert "this address takes none" in refusal(acme, path, limit="1")


def test_an_unknown_parameter_needs_a_key_as_well(client: TestClient) -> None:
    assert client.get(CUSTOMERS, params={"stat": "1"}).status_code == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", "loud"), ("level", "low,"), ("level", ""),
        ("state", ""), ("state", "here"), ("sort", "-name"), ("risen", "-1"), ("risen", "101"),
        ("risen", "x"), ("since", "7"), ("since", "7y"), ("since", "2999-01-01"), ("include", "all"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_the_rule(acme: TestClient, name: str, value: str) -> None:
    assert refusal(acme, CUSTOMERS, **{name: value}).startswith(f"`{name}` must be")


def test_the_file_is_read_with_a_key_as_with_a_session(
    company: TestClient, connection: Connection, redis: Redis
) -> None:
    answer = company.get("/customers.csv", params={"state": "active,new", "sort": "email"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["email"] for row in rows] == ["anna@acme.com", "ben.quinn@acme.com", "dora@acme.com"]
    assert float(rows[1]["score_14_days_ago"]) < float(rows[1]["score"])
    publishable = keys.create(connection, redis, "acme", publishable=True).secret
    assert company.get("/customers.csv", headers={"X-API-Key": publishable}).status_code == 403
    assert company.get("/customers.csv", headers={"X-API-Key": "sk_live_no"}).status_code == 401
