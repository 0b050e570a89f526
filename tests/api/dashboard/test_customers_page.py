"""`/customers` and its CSV."""

import codecs
import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.dashboard import customers, export
from tests.sending import ago, track
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

EMAILS = re.compile(r'<th scope="row"><a href="/customers/([^"]+)"')


def emails(page: str) -> list[str]:
    return EMAILS.findall(page)


def rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def world(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """Anna is here, Ben slows down, Cleo has lapsed, Dora is new."""
    days = {"anna@acme.com": range(30), "ben@acme.com": range(12, 60), "cleo@globex.com": range(50, 90, 2)}
    sent = [event(customer_email=email, timestamp=ago(days=day)) for email, past in days.items() for day in past]
    sent.append(event(event="trial_started", customer_email="dora@acme.com", timestamp=ago(days=2)))
    track(signed_in, *sent)
    work()
    return signed_in


def test_an_empty_account_is_told_how_to_begin(signed_in: TestClient) -> None:
    page = signed_in.get("/customers").text
    assert "No customers yet" in page
    assert "curl http://testserver/api/v1/track" in page


def test_the_riskiest_come_first(world: TestClient) -> None:
    listed = emails(world.get("/customers").text)
    assert (listed[0], listed[-1], len(listed)) == ("ben@acme.com", "anna@acme.com", 3)
    listed = emails(world.get("/customers?state=all").text)
    assert (listed[0], listed[-1], len(listed)) == ("cleo@globex.com", "anna@acme.com", 4)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=email&state=all", ["anna@acme.com", "ben@acme.com", "cleo@globex.com", "dora@acme.com"]),
        ("sort=-email&email=%20BE", ["ben@acme.com"]),
        ("sort=-last_seen&state=here", ["anna@acme.com", "dora@acme.com", "ben@acme.com"]),
        ("state=lapsed", ["cleo@globex.com"]),
        ("state=new", ["dora@acme.com"]),
        ("level=low", ["anna@acme.com"]),
        ("email=nobody", []),
        ("search=globex&state=all", ["cleo@globex.com"]),
        ("state=lapsed&lapsed=60", ["cleo@globex.com"]),
        ("state=lapsed&lapsed=7", []),
    ],
)
def test_it_is_sorted_and_filtered_on_the_page_and_in_the_file(
    world: TestClient, query: str, expected: list[str]
) -> None:
    page = world.get(f"/customers?{query}")
    assert emails(page.text) == expected
    assert [row["email"] for row in rows(world.get(f"/customers.csv?{query}").text)] == expected


@pytest.mark.parametrize("query", ["search=e+x@ex", "search=e%20x@ex", "search=e+x%40ex"])
def test_a_plus_sign_that_came_as_a_blank_is_found_and_stays_as_it_was_typed(
    signed_in: TestClient, work: Callable[[], None], query: str
) -> None:
    """No address holds a blank. Groups, pages and the file look for the same."""
    track(signed_in, event(customer_email="jane+x@example.com"), event(customer_email="jane@example.com"))
    work()
    page = signed_in.get(f"/customers?state=all&{query}").text
    assert emails(page) == ["jane%2Bx@example.com"]
    assert 'name="search" type="search" value="e x@ex"' in page
    links = [unescape(link) for link in re.findall(r'href="(/customers[^"]*search=[^"]*)"', page)]
    assert {parse_qs(urlsplit(link).query)["search"][0] for link in links} == {"e x@ex"}
    (file,) = [link for link in links if link.startswith("/customers.csv")]
    assert [row["email"] for row in rows(signed_in.get(file).text.lstrip("\ufeff"))] == ["jane+x@example.com"]
    assert emails(signed_in.get("/customers?state=all&email=jane+x").text) == ["jane%2Bx@example.com"]


def test_words_that_are_not_found_are_shown_as_they_were_typed(signed_in: TestClient) -> None:
    page = signed_in.get("/customers?search=+jane+of+acme+").text
    assert "contains “<bdi>jane of acme</bdi>”" in page


def test_groups_are_counted(world: TestClient) -> None:
    page = re.sub(r"<[^>]+>", "", world.get("/customers").text)
    for group in ("All 4", "Not lapsed 3", "Lapsed 1", "Low 1"):
        assert group in page


def test_pages_follow_each_other(world: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers, "SIZE", 3)
    page = world.get("/customers?sort=email&email=&state=all").text
    link = re.search(r'rel="next" href="([^"]+)"', page)
    assert link
    following = world.get(link[1].replace("&amp;", "&")).text
    assert emails(page) + emails(following) == ["anna@acme.com", "ben@acme.com", "cleo@globex.com", "dora@acme.com"]
    assert "First page" in following


def test_the_file_has_everything_that_is_known(world: TestClient) -> None:
    answer = world.get("/customers.csv?state=here&level=low")
    name = f"windback-customers-low-not-lapsed-{datetime.now(UTC):%Y-%m-%d}.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.count("\r\n") == 2
    (anna,) = rows(answer.text)
    assert list(anna) == list(export.COLUMNS)
    assert (anna["email"], anna["level"], anna["state"], anna["open_tickets"]) == (
        "anna@acme.com",
        "low",
        "active",
        "0",
    )
    assert 0 < float(anna["score"]) < 20
    assert datetime.fromisoformat(anna["last_seen"]) > datetime.now(UTC) - timedelta(hours=1)


def test_no_cell_is_a_formula(signed_in: TestClient, work: Callable[[], None]) -> None:
    hostile = ['=cmd|"/c"!a1@example.com', "+1+1@example.com", "-2@example.com", '"quo,ted"@example.com']
    sent = [event(customer_email=email, properties={"plan": "@SUM(A1:A9),x"}) for email in hostile]
    assert signed_in.post("/api/v1/track", json={"events": sent}).status_code == 200
    work()
    lines = rows(signed_in.get("/customers.csv?sort=email").text)
    expected = {email if email[0] == '"' else f"'{email}" for email in hostile}
    assert {row["email"] for row in lines} == expected
    assert {row["plan"] for row in lines} == {"'@SUM(A1:A9),x"}


@pytest.mark.parametrize(("page", "path"), [("/customers", "/customers.csv"), ("/", "/money.csv")])
def test_files_of_the_pages_begin_with_a_mark_for_spreadsheets(
    signed_in: TestClient, work: Callable[[], None], page: str, path: str
) -> None:
    signed_in.post(
        "/api/v1/track", json=event(customer_email="zoë@example.com", properties={"mrr": 100, "currency": "EUR"})
    )
    work()
    (link,) = re.findall(rf'href="({path}[^"]*)"', signed_in.get(page).text)
    assert signed_in.get(unescape(link)).content.startswith(codecs.BOM_UTF8)
    assert signed_in.get(path).content[:5] in (b"email", b"curre")  # programs are not given one unasked


@pytest.mark.parametrize(
    "cell",
    [
        "=1",
        "+1",
        "-1",
        "@x",
        "\t=1",
        "\r=1",
        "\nx",
        " =1",
        "\xa0@x",
        "\ufeff=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
    ],
)
def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(cell: str) -> None:
    assert export.guard(cell) == f"'{cell}"


def test_what_is_none_stays_as_it_is() -> None:
    assert export.guard("jane@example.com") == "jane@example.com"


def test_strangers_see_nothing(world: TestClient, connection: Connection, redis: Redis) -> None:
    other = keys.create(connection, redis, "other").secret
    world.cookies.clear()
    del world.headers["X-API-Key"]
    world.post("/sign-in", data={"key": other})
    assert "No customers yet" in world.get("/customers").text
    assert rows(world.get("/customers.csv").text) == []
