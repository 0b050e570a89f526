"""The browser helper, as a shop's page would use it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.acceptance.door import Door
from tests.browser.conftest import Site
from tests.browser.proxy import nginx
from tests.waiting import wait_until


@pytest.fixture
def console(page: Page) -> list[str]:
    """The helper's lines on the console, and errors that are thrown."""
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text) if message.text.startswith("windback") else None)
    page.on("pageerror", lambda error: lines.append(f"thrown: {error}"))
    return lines


def tag(service: Door, attributes: str = "") -> str:
    return f'<script src="{service.line.url}/windback.js" data-key="{service.publishable}" {attributes}></script>'


def page_with(site: Site, service: Door, attributes: str, script: str) -> str:
    """A page that loads the helper with these attributes and runs a script."""
    return site.write(f"</script>{tag(service, attributes)}<script>{script}")


def wait_for(page: Page, service: Door, email: str, count: int) -> list[dict[str, Any]]:
    """The customer's events, when there are so many."""
    wait_until(lambda: page.evaluate("1") and len(service.timeline(email)) >= count, timeout=30)
    events = service.timeline(email)
    assert len(events) == count
    return events


def names(events: list[dict[str, Any]]) -> list[str]:
    return sorted(event["event"] for event in events)


def thrown(console: list[str]) -> list[str]:
    return [line for line in console if line.startswith("thrown")]


def test_events_are_sent_together_with_the_address_of_the_tag(service: Door, site: Site, page: Page) -> None:
    calls = 'windback.track("login"); windback.track("feature_used", {feature: "exports"});'
    page.goto(page_with(site, service, 'data-email="helper@example.com"', calls))
    events = wait_for(page, service, "helper@example.com", 2)
    assert {event["event"]: event["properties"] for event in events} == {
        "login": {},
        "feature_used": {"feature": "exports"},
    }


def test_events_wait_for_the_first_address(service: Door, site: Site, page: Page) -> None:
    page.goto(page_with(site, service, "", 'windback.track("login"); windback.track("feature_used");'))
    page.evaluate('windback.identify("later@example.com")')
    wait_for(page, service, "later@example.com", 2)


@pytest.mark.parametrize(
    ("case", "attributes", "script", "anns", "bobs"),
    [
        ("a", "", 'i("ANN"); t("login"); i("BOB")', ["login"], []),
        ("b", "", 'i("ANN"); t("login"); i(null); i("BOB"); t("two")', ["login"], ["two"]),
        ("c", "", 'i("ANN"); t("login"); i(null); t("nobody"); i("BOB")', ["login"], []),
        ("d", 'data-email="d-ann@example.com"', 't("login"); i("BOB"); t("two")', ["login"], ["two"]),
        ("e", "", 'i("ANN"); t("1"); i("BOB"); t("2"); i("ANN"); t("3")', ["1", "3"], ["2"]),
        ("f", "", 't("0"); i("ANN"); t("1"); i("BOB"); t("2")', ["0", "1"], ["2"]),
        ("g", "", 'i("ANN"); t("1"); i(7); t("2"); i({}); t("3"); i("BOB"); t("4")', ["1", "2", "3"], ["4"]),
        ("h", "", 'i("ANN"); t("1"); windback.flush(); i("BOB"); windback.flush(); t("2")', ["1"], ["2"]),
        ("k", "", 'i("ANN"); const p = {n: 1}; t("1", p); p.n = 2; i("BOB"); t("2", p)', ["1"], ["2"]),
    ],
)
def test_an_event_keeps_the_address_of_its_moment(
    service: Door, site: Site, page: Page, console: list[str], case: str, attributes: str, script: str,
    anns: list[str], bobs: list[str],
) -> None:  # fmt: skip
    ann, bob = f"{case}-ann@example.com", f"{case}-bob@example.com"
    calls = script.replace("ANN", ann).replace("BOB", bob)
    page.goto(page_with(site, service, attributes, f"const i = windback.identify, t = windback.track; {calls}"))
    first = wait_for(page, service, ann, len(anns))
    assert names(first) == anns
    assert names(wait_for(page, service, bob, len(bobs))) == bobs
    assert thrown(console) == []
    if case == "k":
        assert first[0]["properties"] == {"n": 1}


@pytest.mark.parametrize(("count", "size"), [(10, 8000), (100, 700), (3, 30_000), (2, 30_000), (1, 32_000)])
def test_any_amount_is_sent_while_the_page_is_open(
    service: Door, site: Site, page: Page, console: list[str], count: int, size: int
) -> None:
    email = f"many{count}x{size}@example.com"
    calls = f'for (let n = 0; n < {count}; n++) windback.track("feature_used", {{n, note: "x".repeat({size})}});'
    calls += 'for (let n = 0; n < 50; n++) windback.track("login", {n});'
    page.goto(page_with(site, service, f'data-email="{email}"', calls))
    wait_for(page, service, email, count + 50)
    assert console == []


@pytest.mark.parametrize(("count", "size", "stored"), [(3, 100, 3), (5, 8000, 5), (10, 8000, 5)])
def test_what_is_small_leaves_with_the_page(
    service: Door, site: Site, page: Page, count: int, size: int, stored: int
) -> None:
    """Up to the browser's 64 KiB leave, although the page goes in the same moment."""
    email = f"leaving{count}x{size}@example.com"
    page.goto(page_with(site, service, f'data-email="{email}"', ""))
    page.evaluate(
        f"""for (let n = 0; n < {count}; n++) windback.track("login", {{n, note: "x".repeat({size})}});
        setTimeout(() => location.replace("about:blank"))"""
    )
    page.wait_for_url("about:blank")
    wait_until(lambda: page.evaluate("1") and len(service.timeline(email)) >= stored, timeout=30)


def test_what_is_under_way_when_the_page_is_left_arrives_once(service: Door, site: Site, page: Page) -> None:
    page.goto(page_with(site, service, 'data-email="underway@example.com"', ""))
    page.evaluate('windback.track("login"); windback.flush(); setTimeout(() => location.replace("about:blank"))')
    page.wait_for_url("about:blank")
    wait_for(page, service, "underway@example.com", 1)


@pytest.mark.parametrize(
    ("case", "script"),
    [
        ("circle", "const o = {}; o.o = o; windback.track('bad', o);"),
        ("bigint", "windback.track('bad', {n: 10n});"),
        ("getter", "windback.track('bad', {get n() { throw new Error('no'); }});"),
        ("large", "windback.track('bad', {note: 'x'.repeat(70000)});"),
        ("huge", "windback.track('bad', {note: 'x'.repeat(5 << 20)});"),
        ("name", "windback.track(7); windback.track(); windback.track({}); windback.track('');"),
        ("list", "windback.track('bad', [1]); windback.track('bad', 'text');"),
        ("symbol", "windback.track('bad', {toJSON() { throw Symbol('no'); }});"),
        ("nul", "windback.track('bad', {n: '\\u0000'});"),
    ],
)
def test_an_event_that_cannot_be_sent_sinks_no_other(
    service: Door, site: Site, page: Page, console: list[str], case: str, script: str
) -> None:
    email = f"{case}@example.com"
    calls = f"windback.track('login'); {script} windback.track('feature_used');"
    page.goto(page_with(site, service, f'data-email="{email}"', calls))
    assert names(wait_for(page, service, email, 2)) == ["feature_used", "login"]
    wait_until(lambda: page.evaluate("1") and len(console) == 1 if case != "name" else True)
    assert thrown(console) == []


def test_half_a_character_is_replaced(service: Door, site: Site, page: Page, console: list[str]) -> None:
    note = r"'so \ud83d', half: '\ude00 and \\\\ud83d', whole: '\ud83d\ude00'"
    calls = f"windback.track('login'); windback.track('x', {{note: {note}}});"
    page.goto(page_with(site, service, 'data-email="half@example.com"', calls))
    events = {event["event"]: event["properties"] for event in wait_for(page, service, "half@example.com", 2)}
    assert events["x"] == {"note": "so \ufffd", "half": "\ufffd and \\\\ud83d", "whole": "\U0001f600"}
    assert console == []


def test_a_key_that_is_missing_sends_nothing_and_is_told_once(
    service: Door, site: Site, page: Page, console: list[str]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    load = f"""const tag = document.createElement("script"); tag.src = "{service.line.url}/windback.js";
      tag.onload = () => {{ windback.identify("nokey@example.com"); windback.track("a"); windback.flush();
        windback.track("b"); windback.flush(); document.title = "done"; }};
      document.head.append(tag);"""
    page.goto(site.write(load))
    page.wait_for_function('document.title === "done"')
    assert len(console) == 1
    assert "no key" in console[0]
    assert set(asked) == {"GET"}


def test_a_tag_manager_gives_the_key_later(service: Door, site: Site, page: Page, console: list[str]) -> None:
    load = f"""const tag = document.createElement("script"); tag.src = "{service.line.url}/windback.js";
      tag.onload = () => {{ windback.track("login");
        windback.init({{key: " {service.publishable} ", email: "manager@example.com"}}); }};
      document.head.append(tag);"""
    page.goto(site.write(load))
    wait_for(page, service, "manager@example.com", 1)
    assert console == []


@pytest.mark.parametrize("attributes", ['crossorigin="anonymous"', 'type="module"', "defer", "async"])
def test_the_tag_may_carry_any_attribute(
    service: Door, site: Site, page: Page, console: list[str], attributes: str
) -> None:
    email = f"{attributes[:8].strip().replace('=', '')}@example.com".replace('"', "")
    page.goto(page_with(site, service, f'{attributes} data-email="{email}"', ""))
    page.wait_for_function("window.windback && windback.isLoaded")
    page.evaluate('windback.track("login")')
    wait_for(page, service, email, 1)
    assert console == []


def test_loaded_twice_it_sends_once(service: Door, site: Site, page: Page, console: list[str]) -> None:
    again = f'</script>{tag(service)}<script>windback.track("feature_used");'
    page.goto(page_with(site, service, 'data-email="twice@example.com"', f'windback.track("login"); {again}'))
    wait_for(page, service, "twice@example.com", 2)
    assert console == []


def test_tracing_may_add_headers(service: Door, site: Site, page: Page, console: list[str]) -> None:
    wrap = """const plain = fetch; window.fetch = (url, options) => plain(url, {...options, headers: {
      ...options.headers, traceparent: "00-1-2-01", baggage: "a=b", "sentry-trace": "1-2", "x-requested-with": "it"}});
      windback.track("login");"""
    page.goto(page_with(site, service, 'data-email="tracing@example.com"', wrap))
    wait_for(page, service, "tracing@example.com", 1)
    assert console == []


def test_a_fetch_that_throws_breaks_no_page(service: Door, site: Site, page: Page, console: list[str]) -> None:
    wrap = 'window.fetch = () => { throw new Error("blocked"); }; windback.track("login"); windback.flush();'
    page.goto(page_with(site, service, 'data-email="thrower@example.com"', wrap))
    wait_until(lambda: page.evaluate("1") and any("lost" in line for line in console), timeout=30)
    assert thrown(console) == []


def test_a_service_that_is_away_breaks_no_page(service: Door, site: Site, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/api/v1/track", lambda route: route.abort())
    page.goto(page_with(site, service, 'data-email="helper@example.com"', 'windback.track("login"); windback.flush();'))
    page.wait_for_event("requestfailed")
    assert errors == []


@pytest.fixture
def below(service: Door, tmp_path: Path) -> Iterator[str]:
    """A shop whose nginx passes /wb/ on to the service."""
    with nginx(tmp_path, f"location /wb/ {{ proxy_pass {service.line.url}/; }}") as url:
        yield url


@pytest.mark.parametrize("kind", ["", 'type="module"'])
def test_it_works_from_under_a_path(
    service: Door, below: str, tmp_path: Path, page: Page, console: list[str], kind: str
) -> None:
    email = f"below{len(kind)}@example.com"
    source = f'<script {kind} src="/wb/windback.js" data-key="{service.publishable}" data-email="{email}"></script>'
    (tmp_path / "pages" / "index.html").write_text(f"<!doctype html><title>Shop</title>{source}")
    page.goto(f"{below}/index.html")
    page.wait_for_function("window.windback && windback.isLoaded")
    page.evaluate(f'windback.track("login", {json.dumps({"note": "é"})})')
    wait_for(page, service, email, 1)
    assert console == []
