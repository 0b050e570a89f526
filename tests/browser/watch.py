"""A page of the dashboard under watch: no error, no violation of its policy, nothing asked of another host."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = Axe()
SERIOUS = ("serious", "critical")
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile ?? ""}`));
"""
MAX_BYTES = 150_000  # of a page with all its files, uncompressed
WEIGHT = """["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .reduce((sum, one) => sum + one.decodedBodySize, 0)"""
WIDER = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, pre, nav, .skip"))
  .map((one) => `${one.tagName}.${one.className}: ${one.textContent.slice(0, 40)}`)"""


class Watched:
    """What a page did that it must not do."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._host = urlsplit(url).netloc
        self.faults: list[str] = []
        page.add_init_script(VIOLATIONS)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self._heard)
        page.on("request", lambda request: self._asked(request.url))
        page.on("dialog", self._asked_by_a_dialog)

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _asked(self, url: str) -> None:
        if not url.startswith("data:") and urlsplit(url).netloc != self._host:
            self.faults.append(f"request: {url}")

    def _asked_by_a_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def violations(self) -> list[str]:
        """Violations of the policy of the page that is open."""
        found: list[str] = self.page.evaluate("window.violations")
        return found


@contextmanager
def watched(page: Page, url: str) -> Iterator[Watched]:
    """While this lasts the page makes no error, and asks nothing of another host than that of `url`."""
    watch = Watched(page, url)
    yield watch
    assert watch.violations() == []
    assert watch.faults == []


def sign_in(page: Page, url: str, key: str) -> None:
    """Sign in as a person does. The page is then at the overview."""
    page.goto(f"{url}/sign-in")
    page.get_by_label("Secret key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")


def check_access(page: Page) -> None:
    """axe-core finds no serious fault in the open page."""
    found = AXE.run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS] == []


def check_width(page: Page, width: int = 375) -> None:
    """The open page fits into a narrow window: it can't be scrolled sideways."""
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.evaluate(WIDER)
    if before:
        page.set_viewport_size(before)


def check(page: Page, url: str, path: str) -> None:
    """What holds of every page: quiet, light, accessible in both colour schemes, for phone and desk."""
    with watched(page, url) as watch:
        page.goto(url + path)
        assert watch.violations() == []
        assert 0 < page.evaluate(WEIGHT) <= MAX_BYTES
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            check_access(page)
        check_width(page, 375)
        check_width(page, 1440)
        page.emulate_media(color_scheme=None)
