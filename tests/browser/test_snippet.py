"""The documentation's snippet in a browser, on a page of another origin."""

import json
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page

from tests.acceptance.door import TRACK, Door
from tests.browser.conftest import Site
from tests.documentation import SNIPPET, here
from tests.waiting import wait_until


def responses(page: Page, url: str) -> list[Any]:
    """The responses that a page gets from the service, as they come."""
    answers: list[Any] = []
    page.on("response", lambda response: answers.append(response) if response.url.startswith(url) else None)
    return answers


def script(page: Page, url: str, **options: Any) -> Any:
    """The result of a fetch by the page: the status, or the name of the error."""
    code = "([url, options]) => fetch(url, options).then(answer => answer.status, error => error.name)"
    return page.evaluate(code, [url, options])


@pytest.mark.parametrize("publishable", [False, True], ids=["secret key", "publishable key"])
def test_the_snippet_works_from_another_origin(service: Door, site: Site, page: Page, publishable: bool) -> None:
    """Word for word but for host and key: the event is stored, and the page sees no error."""
    key = service.publishable if publishable else service.key
    code = here(SNIPPET, service.line.url, key)
    assert (service.line.url in code, key in code) == (True, True)
    before = service.count("events")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "CORS" in message.text else None)
    answers = responses(page, service.line.url)
    page.goto(site.write(code))
    wait_until(lambda: page.evaluate("1") and answers)
    assert [response.status for response in answers] == [200]
    wait_until(lambda: service.count("events") == before + 1)
    assert errors == []
    newest = service.timeline("jane@example.com")[0]
    assert (newest["event"], newest["properties"]) == ("feature_used", {"feature": "exports", "plan": "pro"})


def test_the_page_may_read_the_answer(service: Door, site: Site, page: Page) -> None:
    """Errors too: a developer's console then says what is wrong."""
    page.goto(site.write(""))
    url = service.line.url + TRACK
    event = json.dumps({"event": "login", "customer_email": "jane@example.com"})
    headers = {"Content-Type": "application/json", "X-API-Key": service.key}
    assert script(page, url, method="POST", headers=headers, body=event) == 200
    assert script(page, url, method="POST", headers=headers, body="{") == 400
    assert script(page, url, method="POST", headers=headers | {"X-API-Key": "sk_live_no"}, body=event) == 401


def test_a_page_cannot_read_customers(service: Door, site: Site, page: Page) -> None:
    """Even with a secret key at hand: the browser blocks it, since only tracking is open to other origins."""
    page.goto(site.write(""))
    for path in ("/api/v1/customers", "/api/v1/customers/jane@example.com"):
        assert script(page, service.line.url + path, headers={"X-API-Key": service.key}) == "TypeError"
        assert script(page, service.line.url + path) == "TypeError"
        assert script(page, service.line.url + path, method="DELETE") == "TypeError"


def test_a_preflight_is_answered_without_a_key_and_cached_for_a_day(service: Door) -> None:
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    answer = httpx2.options(service.line.url + TRACK, headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert {"content-type", "x-api-key"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert answer.headers["access-control-max-age"] == "86400"
    assert "access-control-allow-credentials" not in answer.headers
    refused = httpx2.options(f"{service.line.url}/api/v1/customers", headers=asked)
    assert "access-control-allow-origin" not in refused.headers


def test_a_browser_asks_once_for_many_events(service: Door, site: Site, page: Page) -> None:
    """The preflight's answer is kept: an event costs one round trip."""
    page.goto(site.write(""))
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    asked: list[str] = []
    session.on("Network.requestWillBeSent", lambda sent: asked.append(sent["request"]["method"]))
    event = json.dumps({"event": "login", "customer_email": "jane@example.com"})
    for _ in range(5):
        headers = {"Content-Type": "application/json", "X-API-Key": service.key}
        assert script(page, service.line.url + TRACK, method="POST", headers=headers, body=event) == 200
    assert asked.count("POST") == 5
    assert asked.count("OPTIONS") == 1
