"""The browser helper, as a shop's page would use it."""

from playwright.sync_api import Page

from tests.acceptance.door import Door
from tests.browser.conftest import Site
from tests.waiting import wait_until


def page_with(site: Site, service: Door, attributes: str, script: str) -> str:
    """A page that loads the helper with these attributes and runs a script."""
    source = f"{service.line.url}/windback.js"
    tag = f'<script src="{source}" data-key="{service.publishable}" {attributes}>'
    return site.write(f"</script>{tag}</script><script>{script}")


def test_events_are_sent_together_with_the_address_of_the_tag(service: Door, site: Site, page: Page) -> None:
    calls = 'windback.track("login"); windback.track("feature_used", {feature: "exports"});'
    page.goto(page_with(site, service, 'data-email="helper@example.com"', calls))
    wait_until(lambda: page.evaluate("1") and len(service.timeline("helper@example.com")) == 2)
    events = {one["event"]: one["properties"] for one in service.timeline("helper@example.com")}
    assert events == {"login": {}, "feature_used": {"feature": "exports"}}


def test_events_wait_until_it_is_known_whose_they_are(service: Door, site: Site, page: Page) -> None:
    page.goto(page_with(site, service, "", 'windback.track("login");'))
    page.evaluate('windback.identify("later@example.com")')
    wait_until(lambda: page.evaluate("1") and len(service.timeline("later@example.com")) == 1)


def test_a_service_that_is_away_breaks_no_page(service: Door, site: Site, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/api/v1/track", lambda route: route.abort())
    page.goto(page_with(site, service, 'data-email="helper@example.com"', 'windback.track("login"); windback.flush();'))
    page.wait_for_event("requestfailed")
    assert errors == []
