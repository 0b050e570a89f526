"""A page of the dashboard under watch: no error, no violation of its policy, nothing asked of another host."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = Axe()
SERIOUS = ("serious", "critical")
SCHEMES: dict[Literal["light", "dark"], Sequence[str]] = {
    "light": (),  # all rules
    "dark": ("color-contrast", "link-in-text-block"),  # those that look at colours
}
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

HEADINGS = """() => {
  const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1]));
  const jumps = levels.filter((level, k) => level > (levels[k - 1] ?? 0) + 1);
  return [levels.filter((level) => level === 1).length, jumps];
}"""
# Text whose contrast with the colours behind it is below WCAG's AA, words of charts included. Colours behind are laid
# over each other as the page lays them; `color-mix` and others that are not rgb() are left to axe.
CONTRAST = """() => {
  const rgb = (text) => (text.match(/^rgba?\\(([^)]+)\\)$/)?.[1].split(/[ ,/]+/).map(Number)) ?? null;
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const over = (top, under) => under.map((c, k) => c + (top[k] - c) * (top[3] ?? 1));
  const behind = (one) => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour && (colour[3] ?? 1) > 0) layers.push(colour);
      if (colour && (colour[3] ?? 1) === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under.slice(0, 3)), [255, 255, 255]);
  };
  const faults = [];
  for (const one of document.querySelectorAll("body *")) {
    const words = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const style = getComputedStyle(one);
    if (!words || !one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (one.closest("title, desc, .visually-hidden, .skip")) continue;
    const colour = rgb(one instanceof SVGElement ? style.fill : style.color);
    if (!colour) continue;
    const [ground, size] = [behind(one), parseFloat(style.fontSize)];
    const pair = [light(over(colour, ground)), light(ground)].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faults.push(`${ratio.toFixed(2)} ${one.tagName}: ${one.textContent.slice(0, 40)}`);
  }
  return faults;
}"""


class Watched:
    """A page, and the forbidden things that it did."""

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
        refused: list[str] = self.page.evaluate("window.violations")
        return refused


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


def check_access(page: Page, *rules: str) -> None:
    """axe-core finds no serious fault in the open page, by these of its rules or by all."""
    only = {"runOnly": list(rules)} if rules else {}
    problems = AXE.run(page, options={"resultTypes": ["violations"], **only}).response["violations"]
    assert [(problem["id"], problem["nodes"][0]["html"]) for problem in problems if problem["impact"] in SERIOUS] == []


def check_width(page: Page, width: int = 375) -> None:
    """The open page fits into a narrow window: it can't be scrolled sideways."""
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.evaluate(WIDER)
    if before:
        page.set_viewport_size(before)


def check_headings(page: Page) -> None:
    """The open page has one title, and no heading skips a level."""
    assert page.evaluate(HEADINGS) == [1, []]


def check_contrast(page: Page) -> None:
    """Text of the open page stands out from what is behind it as WCAG's level AA asks."""
    assert page.evaluate(CONTRAST) == []


def check(page: Page, url: str, path: str) -> None:
    """The rules of every page: quiet, light, legible in both colour schemes, for phone and desk, without motion."""
    with watched(page, url) as watch:
        answer = page.goto(url + path)
        if answer and answer.status in (404, 422):
            watch.faults.clear()  # Chromium reports the status as an error
        assert watch.violations() == []
        assert 0 < page.evaluate(WEIGHT) <= MAX_BYTES
        assert page.evaluate("document.getAnimations().length") == 0
        check_headings(page)
        for scheme, rules in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            check_access(page, *rules)
            check_contrast(page)
        check_width(page, 375)
        check_width(page, 1440)
        page.emulate_media(color_scheme=None)
