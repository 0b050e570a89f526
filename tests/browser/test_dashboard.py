"""Signing in, the overview, the customers and the keys, as people see and use them."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from api.up.embedded import Servers
from tests.acceptance.door import Door, door, own_database
from tests.browser.watch import check, check_access, sign_in, watched
from tests.sending import ago, track
from tests.waiting import wait_until
from workers.accounts import keys

HOSTILE_NAME = "</script><img src=x onerror=alert(1)>\u202e\u2067'\""
HOSTILE = "<svg/onload=alert(2)>\"'\u0634@example.com"
LONG = f"{'a' * 188}@{'b' * 61}.com"


def came(email: str, days: range, event: str = "login", **properties: Any) -> Iterator[dict[str, Any]]:
    for day in days:
        yield {"event": event, "customer_email": email, "timestamp": ago(days=day, hours=1), "properties": properties}


def events() -> Iterator[dict[str, Any]]:
    """60 customers who come, one who stopped, one who is gone, and two whose text would like to be more than text."""
    for n in range(60):
        yield from came(f"user{n}@example.com", range(n % 7, 20, 2))
    yield from came("jane@example.com", range(12, 60))
    yield from came("jane@example.com", range(9, 10), "invoice_overdue")
    yield from came("gone@example.com", range(60, 100, 2))
    for email in (HOSTILE, LONG):
        yield from came(email, range(15, 40), plan=HOSTILE_NAME)
        yield from came(email, range(10, 12), HOSTILE_NAME, **{HOSTILE_NAME: "W" * 20_000})


@pytest.fixture(scope="module")
def service(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The whole line, with an account of customers of all kinds."""
    processes = ("web", "ingest", "import", "score", "deliver", "clock")
    with (
        own_database(all_servers.database_url, "dashboard") as url,
        door(url, tmp_path_factory.mktemp("dashboard"), *processes) as made,
    ):
        with made.client() as client:
            track(client, *events())
        made.settle()
        wait_until(lambda: made.count("customers WHERE scored_at IS NULL OR rescore_at <= now()") == 0, timeout=60)
        yield made


@pytest.fixture
def page(browser: Browser, service: Door, state: StorageState) -> Iterator[Page]:
    """A page of who is signed in; it does nothing that it must not."""
    context = browser.new_context(storage_state=state, permissions=["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    with watched(opened, service.line.url):
        yield opened
        if opened.url == "about:blank":
            opened.goto(service.line.url)
    context.close()


def shown(page: Page) -> list[str]:
    """The addresses of the list."""
    return page.locator("table.customers tbody th a").all_inner_texts()


def test_a_secret_key_signs_in_and_the_button_out(service: Door, browser: Browser) -> None:
    url, context = service.line.url, browser.new_context()
    opened = context.new_page()
    with watched(opened, url):
        opened.goto(f"{url}/keys")
        assert opened.url == f"{url}/sign-in?next=/keys"
        opened.get_by_label("Secret key").fill(service.key)
        opened.keyboard.press("Enter")
        opened.wait_for_url(f"{url}/keys")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        opened.get_by_role("button", name="Sign out").click()
        opened.wait_for_url(f"{url}/sign-in")
    assert context.cookies() == []
    check(opened, url, "/sign-in")
    context.close()


def test_other_keys_are_told_why_not(service: Door, browser: Browser) -> None:
    context = browser.new_context()
    opened = context.new_page()
    for key, message in {
        "sk_live_no": "unknown or revoked",
        service.publishable: "only track events",
        "": "Paste",
    }.items():
        opened.goto(f"{service.line.url}/sign-in")
        opened.get_by_label("Secret key").fill(key)
        opened.get_by_role("button", name="Sign in").click()
        expect(opened.get_by_role("alert")).to_contain_text(message)
        check_access(opened)
    context.close()


@pytest.mark.parametrize("path", ["/", "/customers", f"/customers?search={quote('<svg')}", "/keys", "/keys/1/revoke"])
def test_every_page_is_sound(service: Door, page: Page, path: str) -> None:
    """Quiet, accessible and legible in light and dark, on a phone and on a desk."""
    check(page, service.line.url, path)


def test_an_empty_account_is_sound_too(service: Door, browser: Browser) -> None:
    context = browser.new_context()
    opened = context.new_page()
    sign_in(opened, service.line.url, service.other_account())
    for path in ("/", "/customers"):
        check(opened, service.line.url, path)
        expect(opened.get_by_text(f"curl {service.line.url}/api/v1/track")).to_be_visible()
    context.close()


def test_errors_are_pages(service: Door, browser: Browser, state: StorageState) -> None:
    context = browser.new_context(storage_state=state)
    opened = context.new_page()
    opened.goto(f"{service.line.url}/nothing/here")
    expect(opened.get_by_role("heading", name="Page not found")).to_be_visible()
    opened.get_by_role("link", name="Go to the overview").click()
    expect(opened.get_by_role("heading", level=1)).to_contain_text("likely to leave")
    context.close()


def test_the_overview_leads_to_whoever_matters(service: Door, page: Page) -> None:
    page.goto(service.line.url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("likely to leave")
    row = page.get_by_role("row").filter(has_text="jane@example.com")
    expect(row).to_contain_text("Recover the payment")
    expect(page.get_by_text("Nothing is lost")).to_be_visible()
    expect(page.get_by_role("group", name="Customers at medium risk and above, by day")).to_be_visible()
    page.get_by_role("link", name="Lapsed").first.click()
    expect(page).to_have_url(re.compile("state=lapsed"))
    assert "gone@example.com" in shown(page)
    assert "jane@example.com" not in shown(page)


def test_customers_are_searched_sorted_and_paged(service: Door, page: Page) -> None:
    page.goto(f"{service.line.url}/customers")
    page.get_by_role("link", name="Customer", exact=True).click()
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "ascending")
    first = shown(page)
    assert (len(first), first) == (50, sorted(first))
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="First page")).to_be_visible()
    assert not set(first) & set(shown(page))
    page.get_by_label("E-mail or domain").fill("USER1")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("table.customers tbody tr")).to_have_count(11)
    assert all(email.startswith("user1") for email in shown(page))
    page.get_by_label("E-mail or domain").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No customers found")).to_be_visible()
    page.get_by_role("link", name="show customers who haven").click()
    expect(page.locator("table.customers tbody tr")).to_have_count(50)


def test_what_is_shown_is_what_is_exported(service: Door, page: Page, tmp_path: Path) -> None:
    page.goto(f"{service.line.url}/customers?sort=email&search=user2")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    assert re.fullmatch(r"windback-customers-not-lapsed-[\d-]+\.csv", download.value.suggested_filename)
    download.value.save_as(tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["email"] for row in csv.DictReader(file)] == shown(page)


def test_hostile_text_is_text(service: Door, page: Page) -> None:
    for path in ("/", f"/customers?search={quote('<')}", f"/customers?search={quote(LONG)}"):
        page.goto(service.line.url + path)
        assert page.locator("main img, main script, main svg[onload]").count() == 0
    page.goto(f"{service.line.url}/customers?state=all&search={quote('<')}")
    assert shown(page) == [HOSTILE]
    page.goto(f"{service.line.url}/customers?search={quote(HOSTILE_NAME)}")
    expect(page.get_by_text(HOSTILE_NAME.lower())).to_be_visible()
    expect(page.get_by_label("E-mail or domain")).to_have_value(HOSTILE_NAME)


def test_a_key_is_made_copied_and_revoked(service: Door, page: Page) -> None:
    page.goto(f"{service.line.url}/keys")
    page.get_by_label("Publishable").check()
    page.get_by_label("Limit, in events per second").fill("25")
    page.get_by_role("button", name="Create a key").click()
    expect(page.get_by_role("heading", name="Your new key")).to_be_visible()
    page.get_by_role("button", name="Copy").first.click()
    key = page.evaluate("navigator.clipboard.readText()")
    assert keys.is_valid(service.connection, key)
    assert key in page.get_by_label("A command with the new key").inner_text()
    page.goto(f"{service.line.url}/keys")
    assert key not in page.content()
    row = page.get_by_role("row").filter(has_text=key[-4:])
    expect(row).to_contain_text("25 events/s")
    row.get_by_role("link").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked")
    assert not keys.is_valid(service.connection, key)


def test_a_page_ends_when_its_key_is_revoked(service: Door, browser: Browser) -> None:
    created = keys.create(service.connection, service.redis, "acme")
    context = browser.new_context()
    opened = context.new_page()
    sign_in(opened, service.line.url, created.secret)
    opened.goto(f"{service.line.url}/keys/{created.key_id}/revoke")
    expect(opened.get_by_text("You are signed in with this key")).to_be_visible()
    opened.get_by_role("button", name="Revoke my own key and sign out").click()
    opened.wait_for_url(f"{service.line.url}/sign-in")
    opened.goto(f"{service.line.url}/customers")
    assert opened.url == f"{service.line.url}/sign-in?next=/customers"
    context.close()


def test_the_keyboard_is_enough(service: Door, page: Page) -> None:
    page.goto(service.line.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Critical")).to_be_focused()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    for _ in range(6):  # the tile of the lapsed has a second link, to the newly lapsed
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="See all").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Customers")).to_be_visible()


def test_a_link_on_another_site_finds_the_session(service: Door, browser: Browser, state: StorageState) -> None:
    """The cookie doesn't come along with the click; the page asks for itself again, and then it does."""
    context = browser.new_context(storage_state=state)
    opened = context.new_page()
    opened.goto(f"{service.line.url.replace('127.0.0.1', 'localhost')}/healthz")
    opened.evaluate(f"location.href = '{service.line.url}/customers?email=jane'")
    expect(opened.locator("table.customers tbody tr")).to_have_count(1)
    assert opened.url == f"{service.line.url}/customers?email=jane"
    context.close()


def test_pages_work_without_a_script(service: Door, browser: Browser, state: StorageState) -> None:
    context = browser.new_context(storage_state=state, java_script_enabled=False)
    opened = context.new_page()
    opened.goto(f"{service.line.url}/customers")
    opened.get_by_label("E-mail or domain").fill("jane")
    opened.get_by_role("button", name="Search").click()
    expect(opened.locator("table.customers tbody tr")).to_have_count(1)
    opened.goto(f"{service.line.url}/keys")
    expect(opened.get_by_role("button", name="Copy")).to_have_count(0)
    context.close()
