"""The revenue of customers: in lists, on the overview, by company, in the export."""

import csv
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.sending import ago, track
from tests.workers.events import event


@pytest.fixture
def paying(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """Three customers of two companies, in two currencies, and one of whom nothing is known."""
    people = [("a", 9900, "EUR", "Example Ltd"), ("b", 4900, "EUR", "Example Ltd"), ("c", 500000, "JPY", "Beispiel AG")]
    identities = [
        {"user_id": name, "customer_email": f"{name}@example.com", "traits":
         {"name": name.upper(), "mrr": mrr, "currency": currency, "company": company, "seats": 3}}
        for name, mrr, currency, company in people
    ]  # fmt: skip
    assert signed_in.post("/api/v1/identify", json={"identities": identities}).status_code == 200
    events = [event(customer_email=f"{name}@example.com") for name in "abcd"]
    assert signed_in.post("/api/v1/track", json={"events": events}).status_code == 200
    work()
    return signed_in


def emails(client: TestClient, query: str) -> list[str]:
    return [each["email"][0] for each in client.get(f"/api/v1/customers?{query}").json()["customers"]]


def test_lists_are_filtered_and_sorted_by_money(paying: TestClient) -> None:
    assert emails(paying, "sort=-mrr")[:3] == ["c", "a", "b"]
    assert emails(paying, "sort=-mrr_at_risk&limit=3") == ["c", "a", "b"]
    assert emails(paying, "sort=mrr_at_risk") == ["d", "b", "a", "c"]
    assert sorted(emails(paying, "company=Example Ltd")) == ["a", "b"]
    assert emails(paying, "currency=jpy") == ["c"]
    first = paying.get("/api/v1/customers?sort=-mrr_at_risk&limit=2").json()
    after = f"sort=-mrr_at_risk&limit=2&cursor={first['next_cursor']}"
    assert emails(paying, after) == ["b", "d"]


def test_a_customer_has_what_was_said(paying: TestClient) -> None:
    shown = paying.get("/api/v1/customers/a@example.com").json()
    assert (shown["name"], shown["company"], shown["mrr"], shown["currency"]) == ("A", "Example Ltd", 9900, "EUR")
    assert shown["mrr_at_risk"] == pytest.approx(9900 * shown["risk"]["probability"], abs=1)
    assert (shown["traits"]["seats"], shown["user_ids"]) == (3, ["a"])
    page = paying.get("/customers/a@example.com").text.replace("\u00a0", " ")
    for text in ("99 EUR", "seats", "Example Ltd", "User id"):
        assert text in page
    nobody = paying.get("/api/v1/customers/d@example.com").json()
    assert {nobody[name] for name in ("name", "company", "mrr", "currency", "mrr_at_risk")} == {None}
    assert (nobody["traits"], nobody["user_ids"]) == ({}, [])


def test_the_overview_sums_each_currency_apart(paying: TestClient) -> None:
    page = paying.get("/").text.replace("\u00a0", " ")
    assert "Money at risk" in page
    assert "148 EUR" in page
    assert "500,000 JPY" in page


def test_companies_are_shown_with_their_money_and_their_most_active_person(paying: TestClient) -> None:
    page = paying.get("/companies").text.replace("\u00a0", " ")
    assert page.index("Beispiel AG") < page.index("Example Ltd")
    assert "148 EUR" in page
    assert "Beispiel AG" not in paying.get("/companies?q=example").text
    company = paying.get("/companies/Example%20Ltd").text.replace("\u00a0", " ")
    assert "a@<wbr>example.com" in company.replace("<wbr>@", "@<wbr>")
    assert "The most active person is still here." in company
    assert paying.get("/companies/Nobody").status_code == 404


def test_money_is_in_the_export(paying: TestClient) -> None:
    lines = list(csv.DictReader(paying.get("/customers.csv?sort=-mrr").text.splitlines()))
    assert (lines[0]["company"], lines[0]["mrr"], lines[0]["currency"]) == ("Beispiel AG", "500000", "JPY")
    assert float(lines[0]["mrr_at_risk"]) > 0


def test_without_money_nothing_is_said_of_it(signed_in: TestClient, work: Callable[[], None]) -> None:
    signed_in.post("/api/v1/track", json=event())
    work()
    assert "Money at risk" not in signed_in.get("/").text
    assert "No companies yet" in signed_in.get("/companies").text


def test_the_sums_are_exported_in_minor_units(paying: TestClient) -> None:
    lines = paying.get("/money.csv").text.split("\r\n")
    assert lines[0] == "currency,level,customers,mrr,mrr_at_risk"
    rows = [line.split(",") for line in lines[1:] if line]
    sums = {name: sum(int(row[3]) for row in rows if row[0] == name) for name in ("EUR", "JPY")}
    assert sums == {"EUR": 14800, "JPY": 500000}
    assert sum(int(row[2]) for row in rows) == 3
    assert all(0 < int(row[4]) <= int(row[3]) for row in rows)


@pytest.mark.parametrize(("last", "text"), [(20, "has gone silent"), (2, "is still here")])
def test_a_company_says_whether_its_most_active_person_is_silent(
    signed_in: TestClient, work: Callable[[], None], last: int, text: str
) -> None:
    """The most active person counts, not others of the company who came today. Revenue of lapsed customers is gone, not
    at risk."""
    days = [event(customer_email="old@example.com", timestamp=ago(days=day)) for day in range(last, last + 40)]
    track(signed_in, *days, event(customer_email="new@example.com"))
    traits = {"company": "A & B/Süd", "currency": "EUR"}
    people = [
        {"customer_email": "old@example.com", "traits": {**traits, "mrr": 100_000}},
        {"customer_email": "new@example.com", "traits": traits},
    ]
    assert signed_in.post("/api/v1/identify", json={"identities": people}).status_code == 200
    work()
    page = signed_in.get("/companies/A%20%26%20B%2FS%C3%BCd").text
    assert f"The most active person {text}." in page
    assert "2\u00a0customers" in page
    assert "was active on 40\u00a0days" in page
    assert (", 0\u00a0EUR of it at risk" in page) == (last == 20)
