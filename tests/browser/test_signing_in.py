"""Signing in to the dashboard, and out."""

import httpx2
from playwright.sync_api import Page

from tests.acceptance.door import Door
from tests.browser.watch import check, sign_in, watched


def test_who_is_not_signed_in_is_asked_to(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        page.goto(service.line.url)
        assert page.url == f"{service.line.url}/sign-in"
    check(page, service.line.url, "/sign-in")


def test_a_secret_key_signs_in_and_the_button_out(service: Door, page: Page) -> None:
    with watched(page, service.line.url):
        sign_in(page, service.line.url, service.key)
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
        assert service.key not in cookie["value"]
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{service.line.url}/sign-in")
    assert page.context.cookies() == []
    kept = httpx2.get(service.line.url, cookies={cookie["name"]: cookie["value"]})
    assert (kept.status_code, kept.headers["location"]) == (303, "/sign-in")
