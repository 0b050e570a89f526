"""The pages Customer, Events and Model, as people see and use them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from api.dashboard.routes import ROUTES
from api.up.embedded import Servers
from tests.acceptance.door import Door, door, own_database
from tests.browser.watch import check, watched
from tests.sending import ago, track
from tests.waiting import wait_until
from tests.workers.upkeep.counting import count_anew
from tests.workers.worlds import fill, world
from workers.learning.evaluation import mature
from workers.learning.trainer import train
from workers.store import Connection

JANE = "/customers/jane@example.com"
HOSTILE_NAME = "</script><img src=x onerror=alert(1)>\u202e\u2067'\""
HOSTILE = "<svg/onload=alert(2)>\"'%41#?a/../\u0634@example.com"
LONG = f"{'a' * 188}@{'b' * 61}.com"


def history(email: str, days: int = 60) -> Iterator[dict[str, Any]]:
    """A customer who came daily and stopped 11 days ago."""
    for day in range(11, days):
        yield {"event": "login", "customer_email": email, "timestamp": ago(days=day), "properties": {"plan": "pro"}}
    for event, day in {"support_ticket_opened": 15, "invoice_overdue": 12, "subscription_renewed": 40}.items():
        yield {"event": event, "customer_email": email, "timestamp": ago(days=day)}


def hostile(email: str) -> Iterator[dict[str, Any]]:
    """Text that would like to be more than text."""
    properties = {
        HOSTILE_NAME: HOSTILE_NAME,
        "wide": "W" * 20_000,
        "family": "👩‍👩‍👧‍👦" * 50,
        "deep": {"a": [{"b": HOSTILE_NAME}]},
    }
    for minute in range(3):
        at = ago(minutes=minute)
        yield {"event": HOSTILE_NAME, "customer_email": email, "timestamp": at, "properties": properties}
    paying = {"company": HOSTILE_NAME, "mrr": 10**12, "currency": "KRW"}
    yield {"event": "login", "customer_email": email, "timestamp": ago(minutes=3), "properties": paying}
    yield {"event": "x" * 200, "customer_email": email, "properties": {"feature": "\u202eevil", "plan": HOSTILE_NAME}}


@pytest.fixture(scope="module")
def service(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The whole line, with a trained account and customers of all kinds."""
    processes = ("web", "ingest", "import", "score")
    with (
        own_database(all_servers.database_url, "pages") as url,
        door(url, tmp_path_factory.mktemp("pages"), *processes) as made,
    ):
        learn(made.connection)
        emails = ("jane@example.com", "gone@example.com")
        refused = {"event": "login", "customer_email": "nobody"}
        with made.client() as client:
            track(client, *(one for email in emails for one in history(email)), *hostile(HOSTILE), *hostile(LONG))
            track(client, refused, {"event": "featureUsed", "customer_email": "a@b.cd"}, expected={207})
        made.settle()
        wait_until(lambda: made.count("customers WHERE scored_at IS NULL OR rescore_at <= now()") == 0, timeout=60)
        count_anew(made.connection)
        yield made


def learn(connection: Connection) -> None:
    """A trained model, and scores of a month ago that have proved themselves."""
    account_id = fill(connection, world())
    connection.execute("""
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, date_trunc('day', now()) - interval '33 days 2 hours', random(), 'low', 'active', 'prior-1'
        FROM customers WHERE first_seen < now() - interval '33 days'
    """)
    mature(connection, account_id, 30)
    train(connection, account_id, 30)


@pytest.fixture
def page(browser: Browser, state: StorageState) -> Iterator[Page]:
    """A page of who is signed in."""
    context = browser.new_context(storage_state=state, permissions=["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


PATHS = {
    "customer": f"{JANE}?span=365",
    "hostile customer": "/customers/" + quote(HOSTILE, safe="@"),
    "longest address": f"/customers/{quote(LONG)}",
    "events": "/events",
    "event": "/events/login?span=90",
    "hostile event": f"/events/{quote(HOSTILE_NAME, safe='')}",
    "model": "/model",
    "alerts": "/alerts",
    "effect": "/alerts/effect",
    "drafts": "/drafts",
    "draft": "/drafts/refund_rescue",
    "companies": "/companies",
    "company": "/companies/" + quote(HOSTILE_NAME, safe=""),
    "mappings": "/mappings",
    "imports": "/import",
    "settings": "/settings",
    "missing page": "/nothing/here",
    "missing customer": "/customers/nobody@example.com",
    "invalid filter": "/customers?level=hot",
}
ELSEWHERE = {  # pages whose tests are beside this one, and answers that are no pages
    "/", "/customers", "/customers.csv", "/money.csv", "/first-event", "/keys", "/keys/{key_id:int}/revoke", "/sign-in",
    "/import/{import_id}", "/erasures/{erasure_id:uuid}",
}  # fmt: skip


def test_every_page_is_looked_at() -> None:
    paths = [urlsplit(path).path for path in PATHS.values()]
    for route in ROUTES:
        if "GET" in (route.methods or ()) and route.path not in ELSEWHERE:
            assert any(route.path_regex.match(unquote(path)) for path in paths), route.path


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_page_is_quiet_accessible_and_fits(service: Door, page: Page, path: str) -> None:
    """In light and dark, at 375 and 1440 pixels, everything folded out as well; every chart tells what it shows."""
    check(page, service.line.url, path)
    for summary in page.locator("summary").all():
        if not summary.evaluate("one => one.parentElement.open"):
            summary.click()
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("window.violations") == []
    for chart in page.locator("svg[role=img]").all():
        assert chart.evaluate("one => one.querySelector('title').textContent.length") > 0


def test_the_navigation_stands_still(service: Door, page: Page) -> None:
    """From page to page: the name of the current one is bold, and takes no more room for it."""
    places = []
    for path in ("/events", "/model", "/alerts"):
        page.goto(service.line.url + path)
        places.append(page.locator(".top nav a").evaluate_all("all => all.map((a) => a.getBoundingClientRect().left)"))
    assert len(places[0]) > 5
    assert places[0] == places[1] == places[2]


def test_the_navigation_shows_the_current_page_on_a_phone(service: Door, page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    for path in ("/settings", "/import", "/model"):
        page.goto(service.line.url + path)
        current = page.locator(".top nav [aria-current]")
        expect(current).to_have_count(1)
        place = current.bounding_box()
        assert place
        assert place["x"] >= 0
        assert place["x"] + place["width"] < 376


def test_a_chart_tells_its_values_by_keyboard_and_by_touch(
    service: Door, browser: Browser, state: StorageState
) -> None:
    context = browser.new_context(storage_state=state, has_touch=True)
    page = context.new_page()
    with watched(page, service.line.url):
        page.goto(service.line.url + JANE)
        tip, chart = page.locator(".tip"), page.locator("svg.framed").first
        page.get_by_role("link", name="A year").focus()
        page.keyboard.press("Tab")
        expect(chart).to_be_focused()
        last = tip.inner_text()
        assert last
        page.keyboard.press("Home")
        assert tip.inner_text() not in ("", last)
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()
        chart.tap()
        expect(tip).to_be_visible()
    context.close()


def test_exact_times_are_a_button_away(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(service.line.url + JANE)
        lead = page.locator(".lead")
        expect(lead).to_contain_text("days ago")
        page.get_by_role("button", name="Show exact times").press("Enter")
        expect(lead).to_contain_text("UTC")
        page.get_by_role("button", name="Show exact times").press("Enter")
        expect(lead).to_contain_text("days ago")


def test_hostile_text_is_shown_as_it_is(service: Door, page: Page) -> None:
    """And changes nothing around it: its direction ends where it ends."""
    with watched(page, service.line.url):
        page.goto(service.line.url + PATHS["hostile customer"])
        expect(page.locator("h1")).to_have_text(HOSTILE)
        expect(page.locator("#timeline b").first).to_have_text("x" * 200)
        assert page.locator("#timeline b").all_text_contents().count(HOSTILE_NAME) == 3
        assert page.locator("h1 bdi, #timeline bdi").count() > 10
        page.get_by_role("link", name="30 days").click()
        expect(page.locator("h1")).to_have_text(HOSTILE)
        page.goto(service.line.url + "/events")
        page.get_by_role("link", name="onerror").click()
        expect(page.locator("h1")).to_have_text(HOSTILE_NAME)


def test_what_follows_hostile_text_stays_in_its_place(service: Door, page: Page) -> None:
    """A direction that the text begins and doesn't end, ends with it all the same: names stand before their values."""
    with watched(page, service.line.url):
        page.goto(service.line.url + PATHS["hostile customer"])
        places = page.locator(".pair").evaluate_all(
            "all => all.map((one) => [...one.children].map((part) => part.getBoundingClientRect()))"
        )
        assert len(places) > 6
        for name, value in places:
            assert name["top"] < value["top"] or name["right"] <= value["left"]
        page.goto(f"{service.line.url}/events")
        counts = page.locator(".names tbody tr").evaluate_all(
            "all => all.map((one) => [...one.children].map((cell) => cell.getBoundingClientRect().left))"
        )
        assert all(lefts == sorted(lefts) for lefts in counts)


def test_a_customer_is_seen_whole(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(service.line.url + JANE)
        expect(page.get_by_role("heading", level=1)).to_have_text("jane@example.com")
        expect(page.get_by_role("img", name="Risk of jane@example.com over time")).to_be_visible()
        expect(page.locator(".mark.mark-up")).to_have_count(2)
        parts = [
            float(text_content.replace("\u2212", "-"))
            for text_content in page.locator(".bars td.num").all_text_contents()
        ]
        assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=1e-9)
        page.get_by_role("link", name="30 days").click()
        expect(page.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "true")
        expect(page.locator(".mark")).to_have_count(2)


def test_the_draft_is_copied(service: Door, page: Page) -> None:
    """All of it, and nothing else: the text as the API gives it."""
    with service.client() as client:
        body = client.get(f"/api/v1{JANE}/draft").json()["body_text"]
    with watched(page, service.line.url):
        page.goto(service.line.url + JANE)
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == body.strip()
    assert copied.startswith("Hi,")
    assert "invoice" in copied


def test_pages_work_without_a_script(service: Door, browser: Browser, state: StorageState) -> None:
    context = browser.new_context(storage_state=state, java_script_enabled=False)
    page = context.new_page()
    page.goto(service.line.url + JANE)
    expect(page.locator("#mail")).to_contain_text("To: jane@example.com")
    expect(page.get_by_role("button", name="Copy")).to_be_hidden()
    expect(page.get_by_role("img", name="over time")).to_be_visible()
    context.close()


def test_the_timeline_has_pages(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(service.line.url + JANE)
        newest = page.locator("#timeline li time").first.get_attribute("datetime")
        page.get_by_role("link", name="Next page").click()
        page.wait_for_url("**cursor=*")
        older = page.locator("#timeline li time").first.get_attribute("datetime")
        assert newest
        assert older
        assert older < newest
        page.get_by_role("link", name="First page").click()
        expect(page.locator("#timeline li time").first).to_have_attribute("datetime", newest)


def test_a_fold_opens_by_keyboard(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(service.line.url + JANE)
        summary = page.get_by_text("Show as a table")
        for _ in range(30):
            page.keyboard.press("Tab")
            if summary.evaluate("one => one === document.activeElement"):
                break
        expect(page.get_by_role("columnheader", name="When")).to_be_hidden()
        page.keyboard.press("Enter")
        expect(page.get_by_role("columnheader", name="When")).to_be_visible()


def test_erasing_asks_for_the_address_and_leaves_a_receipt(service: Door, page: Page) -> None:
    with watched(page, service.line.url) as watch:
        page.goto(f"{service.line.url}/customers/gone@example.com")
        page.get_by_text("Erase this customer").click()
        page.get_by_label("Type the e-mail address to confirm").fill("jane@example.com")
        page.get_by_role("button", name="Erase").click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was erased")
        watch.faults.clear()  # Chromium reports the 422 as an error
        page.get_by_label("Type the e-mail address to confirm").fill("gone@example.com")
        page.get_by_role("button", name="Erase").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The customer is erased")
        expect(page.locator("dd").nth(2)).to_have_text("52")
    check(page, service.line.url, page.url.removeprefix(service.line.url))
    assert service.count("customers WHERE email = 'gone@example.com'") == 0


def test_names_are_found_and_mended(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(f"{service.line.url}/events")
        expect(page.get_by_text("Two names for the same event?")).to_be_visible()
        expect(page.get_by_text("Not stored: events without a valid e-mail address")).to_be_visible()
        page.get_by_label("Name contains").fill("OVERDUE")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator(".names tbody th")).to_have_text(["invoice_overdue"])
        page.get_by_role("link", name="invoice_overdue").click()
        expect(page.get_by_role("img", name="invoice_overdue by day")).to_be_visible()


def test_the_model_tells_what_it_learnt(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(f"{service.line.url}/model")
        expect(page.get_by_role("img", name="Predicted and actual churn")).to_be_visible()
        expect(page.get_by_role("img", name="How well scores ranked")).to_be_visible()
        expect(page.locator("#calibration-title ~ svg circle")).to_have_count(10)
        expect(page.get_by_text("windback models rollback --account acme")).to_be_visible()
