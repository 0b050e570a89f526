"""Segment's browser library, as npm has it, in a real browser on a page of another origin."""

import pytest
from playwright.sync_api import Page

from tests.acceptance.door import Door
from tests.browser.conftest import Site
from tests.libraries.install import install
from tests.waiting import wait_until

LOAD = """
const {{ AnalyticsBrowser }} = AnalyticsNext;
const analytics = AnalyticsBrowser.load({{ writeKey: "{key}", cdnURL: "{url}" }}{options});
analytics.identify("{user}", {{ email: "{user}@example.com", name: "Jane", plan: "pro" }});
analytics.page("Docs", "Pricing");
analytics.track("Report Shared", {{ pages: 3 }});
analytics.group("g1", {{ name: "Example Ltd" }});
Promise.all([analytics.track("Signed Out")]).then(() => (window.done = true));
"""
BATCHING = (
    ', { integrations: { "Segment.io": { deliveryStrategy: { strategy: "batching", config: { timeout: 100 } } } } }'
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library for script elements."""
    modules = install(tmp_path_factory.mktemp("segment"))
    return (modules / "@segment/analytics-next/dist/umd/index.js").read_text()


@pytest.mark.parametrize(("user", "options"), [("ann", ""), ("bea", BATCHING)], ids=["one by one", "in batches"])
def test_it_works_with_another_host(
    service: Door, site: Site, page: Page, library: str, user: str, options: str
) -> None:
    """Nothing is changed but the host: the person is known, and each event is stored once."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Segment" in message.text else None)
    page.on("response", lambda answer: faults.append(answer.url) if answer.url in asked and not answer.ok else None)
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url) if not request.url.startswith(site.url) else None)
    script = LOAD.format(key=service.publishable, url=service.line.url, user=user, options=options)
    site.add("analytics.js", library)
    page.goto(site.write(f'</script><script src="/analytics.js"></script><script>{script}'))
    email = f"{user}@example.com"
    wait_until(lambda: page.evaluate("window.done") and len(service.timeline(email)) == 3)
    events = {event["event"]: event["properties"] for event in service.timeline(email)}
    assert events.keys() == {"page_viewed", "Report Shared", "Signed Out"}
    assert (events["page_viewed"]["page"], events["Report Shared"]["pages"]) == ("Pricing", 3)
    traits = ("name", "Jane"), ("plan", "pro"), ("company", "Example Ltd")
    where = " AND ".join(f"traits ->> '{name}' = '{value}'" for name, value in traits)
    profiles = f"profiles JOIN customers USING (customer_id) WHERE email = %s AND {where}"
    wait_until(lambda: service.count(profiles, email) == 1)
    assert all(address.startswith(service.line.url) for address in asked)
    assert faults == []
