"""`/customers/{email}`, and erasing."""

import re
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from markupsafe import escape
from redis import Redis
from starlette.testclient import TestClient

from tests.api.dashboard.conftest import token_in
from tests.sending import ago, track
from tests.workers.events import event
from workers.accounts import keys
from workers.store import Connection

JANE = "/customers/jane@example.com"
HOSTILE = "\"<script>alert('x')</script>\"@example.com"


@pytest.fixture
def jane(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """A customer of two months who came daily, stopped, has a ticket open and an invoice overdue."""
    track(
        signed_in,
        *[event(timestamp=ago(days=day), properties={"plan": "pro"}) for day in range(12, 60)],
        event(event="support_ticket_opened", timestamp=ago(days=11), properties={"subject": "Cannot export"}),
        event(event="invoice_overdue", timestamp=ago(days=10)),
        event(event="nps_response", timestamp=ago(days=13), properties={"score": 3}),
    )
    work()
    return signed_in


def figures(page: str) -> list[float]:
    """The points of "Why this risk", the risk last."""
    table = page.partition('<table class="bars">')[2].partition("</table>")[0]
    return [float(one.replace("\u2212", "-")) for one in re.findall(r'num">(?:<b>)?([+\u2212\d.]+)', table)]


def test_a_page_tells_the_risk_why_and_what_to_do(jane: TestClient) -> None:
    page, customer = jane.get(JANE).text, jane.get(f"/api/v1{JANE}").json()
    assert f'<b class="num">{customer["risk"]["score"]:.1f}</b>' in page
    for text in ("Recover the payment", "No login for 12 days", "Cannot export", customer["advice"]["why"]):
        assert text in page
    assert re.search(r"Open tickets</dt><dd[^>]*>1<", page)
    assert "NPS score 3" in page


def test_all_parts_add_up_to_the_risk_of_the_api(jane: TestClient) -> None:
    """To the digit that is shown, and the parts are those that the API gives as reasons."""
    risk = jane.get(f"/api/v1{JANE}").json()["risk"]
    page = jane.get(JANE).text
    *parts, total = figures(page)
    assert total == pytest.approx(risk["score"], abs=1e-9)
    assert sum(parts) == pytest.approx(total, abs=1e-9)
    shown = sorted(parts)
    assert all(min(abs(part - reason["points"]) for part in shown) <= 0.06 for reason in risk["reasons"])
    assert "Every customer starts at" in page


def test_parts_add_up_where_the_score_is_older_than_what_is_known(jane: TestClient, connection: Connection) -> None:
    """A score that can't be computed again shows the reasons that were kept with it."""
    connection.execute("UPDATE customers SET probability = 0.9, model = 'map-7'")
    *parts, total = figures(jane.get(JANE).text)
    assert total == 90.0
    assert sum(parts) == pytest.approx(total, abs=1e-9)


def test_the_chart_marks_what_moved_the_risk(jane: TestClient) -> None:
    page = jane.get(f"{JANE}?span=30").text
    marks = re.findall(r'<g class="mark ([\w-]+)"><title>[^:]+: ([^<]+)<', page)
    assert marks == [
        ("mark-up", "NPS score 3"),
        ("mark-up", "Support ticket opened"),
        ("mark-up", "Invoice overdue"),
    ]
    assert "span=90" in page


def test_of_an_hour_the_chart_shows_the_last_that_was_said(jane: TestClient, connection: Connection) -> None:
    """As after an import, during which everybody seemed to leave."""
    connection.execute("DELETE FROM risk_history")
    connection.execute(
        """
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, date_trunc('hour', now()) - interval '2 days' + minute * interval '1 minute', risk, 'low',
               'active', 'prior-1'
        FROM customers, (VALUES (0, 0.31), (20, 0.99), (59, 0.42)) AS said (minute, risk)
        """
    )
    page = jane.get(JANE).text
    assert ": 42</title>" in page
    assert ": 99</title>" not in page
    assert ": 31</title>" not in page


def test_a_span_that_nobody_offered_is_refused(jane: TestClient) -> None:
    assert jane.get(f"{JANE}?span=31").status_code == 422


def test_the_timeline_goes_on_where_the_page_ends(jane: TestClient) -> None:
    """Every event is on exactly one page, newest first."""
    address, seen = JANE, []
    while address:
        page = jane.get(address).text
        seen += re.findall(r'<li>\s*<time datetime="([^"]+)"', page)
        following = re.search(r'rel="next" href="([^"#]+)', page)
        address = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == 51
    assert seen == sorted(seen, reverse=True)


def test_long_properties_fold_and_their_size_is_told(signed_in: TestClient, work: Callable[[], None]) -> None:
    track(signed_in, event(properties={"text": "W" * 30_000, "deep": {"a": [1, 2]}}))
    work()
    page = signed_in.get(JANE).text
    assert "<summary" in page
    assert "W" * 2000 not in page
    assert re.search(r"The first 1,000 of 30,\d{3} characters", page)


def test_marks_that_turn_text_are_seen_among_all_properties(signed_in: TestClient, work: Callable[[], None]) -> None:
    track(signed_in, event(properties={"deep": {"name": "\u202egpj.exe"}}))
    work()
    assert "&#34;\\u202egpj.exe&#34;" in signed_in.get(JANE).text


def test_hostile_text_is_text(signed_in: TestClient, work: Callable[[], None]) -> None:
    name = "</script><img src=x onerror=alert(1)>\u202e"
    track(signed_in, event(event=name, customer_email=HOSTILE, properties={name: name, "plan": name}))
    work()
    page = signed_in.get(f"/customers/{quote(HOSTILE)}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "<img src=x" not in page.text
    assert page.text.count("&lt;img src=x onerror=alert(1)&gt;") >= 3


@pytest.mark.parametrize("email", ["a#b?c=d&e/../f@example.com", "a+b'c@example.com", "..@example.com"])
def test_links_lead_back_to_any_address(signed_in: TestClient, work: Callable[[], None], email: str) -> None:
    track(signed_in, *[event(customer_email=email, timestamp=ago(days=day)) for day in range(40)])
    work()
    page = signed_in.get(f"/customers/{quote(email, safe='@')}").text
    links = re.findall(r'href="(/customers/[^"#]+)', page)
    assert len(links) == 4
    for link in links:
        shown = signed_in.get(link.replace("&amp;", "&").replace("&#39;", "'"))
        assert f"<h1><bdi>{escape(email)}</bdi></h1>" in shown.text.replace("<wbr>", "")
    done = re.search(r'method="post" action="([^"]+)" autocomplete', page)
    assert done
    erased = signed_in.post(done[1].replace("&#39;", "'"), data={"token": token_in(page), "email": email})
    assert "The customer is erased" in erased.text


def test_who_signs_in_comes_to_the_page_that_was_asked_for(signed_in: TestClient, work: Callable[[], None]) -> None:
    signed_in.cookies.clear()
    asked = signed_in.get("/customers/a%23b%3Fc@example.com?span=30", follow_redirects=False)
    assert unquote(asked.headers["location"]) == "/sign-in?next=/customers/a%23b%3Fc@example.com?span=30"


def test_a_customer_without_a_risk_yet_has_a_page(jane: TestClient, connection: Connection) -> None:
    connection.execute("UPDATE customers SET level = NULL, scored_at = NULL, advice = NULL, reasons = '[]'")
    connection.execute("DELETE FROM risk_history")
    page = jane.get(JANE).text
    assert "No risk yet" in page
    assert "Why this risk" not in page


def test_strangers_see_nothing(jane: TestClient, connection: Connection, redis: Redis) -> None:
    """Neither who is signed in to another account, nor who isn't."""
    jane.cookies.clear()
    assert jane.get(JANE, follow_redirects=False).headers["location"].startswith("/sign-in")
    other = keys.create(connection, redis, "other")
    jane.post("/sign-in", data={"key": other.secret})
    assert jane.get(JANE).status_code == 404


def test_erasing_needs_the_address_typed(jane: TestClient) -> None:
    page = jane.get(JANE).text
    refused = jane.post(JANE, data={"token": token_in(page), "email": "john@example.com"})
    assert refused.status_code == 422
    assert "Nothing was erased" in refused.text
    assert jane.get(JANE).status_code == 200


def test_erasing_leaves_a_receipt_and_nothing_else(jane: TestClient) -> None:
    page = jane.get(JANE).text
    done = jane.post(JANE, data={"token": token_in(page), "email": " Jane@Example.com "})
    assert done.status_code == 200
    assert done.url.path.startswith("/erasures/")
    assert re.search(r"Events</dt><dd[^>]*>51<", done.text)
    assert "jane" not in done.text
    assert jane.get(JANE).status_code == 404


@pytest.mark.parametrize("token", ["", "another"])
def test_erasing_needs_the_sessions_token(jane: TestClient, token: str) -> None:
    assert jane.post(JANE, data={"token": token, "email": "jane@example.com"}).status_code == 403
    assert jane.get(JANE).status_code == 200


def test_a_receipt_is_the_accounts_own(jane: TestClient, connection: Connection, redis: Redis) -> None:
    done = jane.post(JANE, data={"token": token_in(jane.get(JANE).text), "email": "jane@example.com"})
    jane.cookies.clear()
    jane.post("/sign-in", data={"key": keys.create(connection, redis, "other").secret})
    assert jane.get(done.url.path).status_code == 404
