"""Importing history as a person does it: in a real browser, into a service whose workers run."""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from api.up.embedded import Servers
from tests.acceptance.door import Door, door, own_database
from tests.browser.proxy import nginx
from tests.browser.watch import check_access, check_width, sign_in, watched
from tests.waiting import wait_until
from workers.buffer.lanes import LANES

DAY = datetime.now(UTC) - timedelta(days=40)
WAIT = 60_000  # milliseconds
SHOTS = os.environ.get("WINDBACK_SCREENSHOTS")  # a folder for pictures of what is tested


@pytest.fixture(scope="module")
def service(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """All processes that an import passes."""
    with (
        own_database(all_servers.database_url, "imports") as url,
        door(url, tmp_path_factory.mktemp("imports"), "web", "ingest", "import", "score", "clock") as made,
    ):
        yield made


@pytest.fixture
def page(service: Door, browser: Browser) -> Iterator[Page]:
    """Somebody signed in, at a desk."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    sign_in(opened, service.line.url, service.key)
    yield opened
    context.close()


def check_page(page: Page, name: str) -> None:
    """The page is accessible, and fits at 375 and at 1440 pixels; a picture of each where somebody wants one."""
    check_access(page)
    for width in (1440, 375):
        check_width(page, width)
        if SHOTS:
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=Path(SHOTS) / f"{name}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1440, "height": 900})


def upload(page: Page, url: str, path: Path, people: Path | None = None, heading: str = "How it is read") -> None:
    """Choose a file and send it; the page then shows what is in it."""
    page.goto(f"{url}/import")
    page.get_by_label("File of events").set_input_files(path)
    if people:
        page.get_by_text("My events have user ids").click()
        page.get_by_label("File of addresses").set_input_files(people)
    page.get_by_role("button", name="Upload and preview").click()
    page.wait_for_url(f"{url}/import/*")
    expect(page.get_by_role("heading", name=heading)).to_be_visible(timeout=WAIT)


def write_mixpanel(path: Path, customers: int, days: int, prefix: str = "u") -> None:
    events = (
        {
            "event": "Signed In" if day % 3 else "Report Shared",
            "properties": {
                "time": int((DAY + timedelta(days=day, minutes=customer)).timestamp()),
                "distinct_id": f"{prefix}{customer}",
                "$insert_id": f"{prefix}{customer}-{day}",
                "$browser": "Chrome",
                "plan": "pro",
            },
        }
        for customer in range(customers)
        for day in range(days)
    )
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, events)).encode()))


def test_an_export_is_uploaded_mapped_and_followed_to_its_end(service: Door, page: Page, tmp_path: Path) -> None:
    url = service.line.url
    write_mixpanel(tmp_path / "export.json.gz", 30, 38)
    (tmp_path / "people.csv").write_text(
        "user_id,email\n" + "".join(f"u{number},u{number}@example.com\n" for number in range(29))
    )
    with watched(page, url):
        page.goto(f"{url}/import")
        check_page(page, "import")
        upload(page, url, tmp_path / "export.json.gz", tmp_path / "people.csv")
        expect(page.get_by_label("Comes from")).to_have_value("mixpanel")
        expect(page.get_by_text("38 events of 1 user id")).to_be_visible()
        check_page(page, "import-preview")
        page.get_by_label("What Signed In becomes").select_option("login")
        page.get_by_role("button", name="Update the preview").click()
        expect(page.get_by_text("from Signed In")).to_be_visible(timeout=WAIT)
        page.get_by_role("button", name="Import 1,140 events").click()
        expect(page.get_by_role("heading", name="everything is stored and scored")).to_be_visible(timeout=2 * WAIT)
        check_page(page, "import-done")
        page.get_by_role("link", name="See customers").click()
        expect(page.get_by_text("u7@example.com")).to_be_visible()
    assert service.count("customers WHERE scored_at IS NOT NULL AND NOT provisional") == 29
    assert service.count("unresolved_events WHERE user_id = 'u29'") == 38


def test_without_a_script_it_works_as_well(service: Door, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(
        f"Action,E-Mail,Date,Seats\nSigned In,own@example.com,{DAY:%Y-%m-%d},3\nSigned In,nobody,{DAY:%Y-%m-%d},3\n"
    )
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, service.line.url, service.key)
    upload(page, service.line.url, tmp_path / "own.csv")
    expect(page.get_by_label("E-mail address")).to_have_value("E-Mail")
    expect(page.get_by_text("1 line, listed below")).to_be_visible()
    page.get_by_role("button", name="Import 1 event").click()
    expect(page.get_by_role("heading", name="everything is stored and scored")).to_be_visible(timeout=2 * WAIT)
    (event,) = service.timeline("own@example.com")
    assert (event["event"], event["properties"]) == ("Signed In", {"Seats": 3})
    context.close()


def test_a_file_that_is_no_text_is_refused_in_words(service: Door, page: Page, tmp_path: Path) -> None:
    (tmp_path / "export.parquet").write_bytes(b"PAR1" + bytes(1000))
    upload(page, service.line.url, tmp_path / "export.parquet", heading="Import of export.parquet")
    expect(page.get_by_text("It is a Parquet file")).to_be_visible(timeout=WAIT)
    check_page(page, "import-refused")


def test_an_empty_file_is_refused_in_words(service: Door, page: Page, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    page.goto(f"{service.line.url}/import")
    page.get_by_label("File of events").set_input_files(tmp_path / "empty.csv")
    page.get_by_role("button", name="Upload and preview").click()
    expect(page.locator("[data-upload-status]")).to_have_text(
        "Choose a file; the one that arrived is empty.", timeout=WAIT
    )


def test_a_proxy_that_takes_no_large_files_is_named(service: Door, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.csv").write_text(
        "event,customer_email,timestamp\n" + "login,jane@example.com,2026-01-01\n" * 100
    )
    headers = "proxy_set_header Host $http_host; client_max_body_size 1k;"
    with nginx(tmp_path, f"location / {{ proxy_pass {service.line.url}; {headers} }}") as url:
        context = browser.new_context()
        page = context.new_page()
        sign_in(page, url, service.key)
        page.goto(f"{url}/import")
        page.get_by_label("File of events").set_input_files(tmp_path / "large.csv")
        page.get_by_role("button", name="Upload and preview").click()
        expect(page.locator("[data-upload-status]")).to_contain_text("client_max_body_size", timeout=WAIT)
        context.close()


def test_dates_with_slashes_ask_for_their_order(service: Door, page: Page, tmp_path: Path) -> None:
    (tmp_path / "us.csv").write_text(
        f"Email,Event,Date\nsam@example.com,login,{DAY.month}/{DAY.day}/{DAY.year} 2:00 PM\n"
    )
    upload(page, service.line.url, tmp_path / "us.csv")
    expect(page.get_by_text("say if the day or the month comes first").first).to_be_visible()
    page.get_by_label("Dates like 3/4/2025").select_option("month first: 4 March")
    page.get_by_role("button", name="Update the preview").click()
    expect(page.get_by_text(f"{DAY:%Y-%m-%d} 14:00")).to_be_visible(timeout=WAIT)
    check_page(page, "import-dates")
    page.get_by_role("button", name="Import 1 event").click()
    expect(page.get_by_role("heading", name="everything is stored and scored")).to_be_visible(timeout=2 * WAIT)
    (event,) = service.timeline("sam@example.com")
    assert event["timestamp"].startswith(f"{DAY:%Y-%m-%d}T14:00")


def list_senders(web: psutil.Process) -> list[psutil.Process]:
    """Returns the processes that send; one that has read a file may not have ended yet."""
    senders = []
    for child in web.children():
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if "api.imports send" in " ".join(child.cmdline()):
                senders.append(child)
    return senders


def find_sender(service: Door) -> psutil.Process:
    """Returns the process that sends, stopped when some of its events have arrived."""
    before = count_accepted(service)
    (child,) = wait_until(lambda: list_senders(service.web))
    wait_until(lambda: count_accepted(service) > before, interval=0.002)
    child.suspend()
    return child


def count_accepted(service: Door) -> int:
    return sum(int(service.redis.hget(lane.ledger, "accepted") or 0) for lane in LANES.values())


def test_a_restart_in_the_middle_is_said_and_the_import_is_run_again(service: Door, page: Page, tmp_path: Path) -> None:
    """The web process is killed while its import is at work."""
    write_mixpanel(tmp_path / "large.json.gz", 300, 38, "unknown-")
    upload(page, service.line.url, tmp_path / "large.json.gz")
    before = service.redis.hlen("windback:imports:1")
    page.get_by_role("button", name="Import 11,400 events").click()
    child = find_sender(service)
    expect(page.get_by_text("The file is being sent")).to_be_visible(timeout=WAIT)
    service.line.kill("web")
    child.resume()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running()
    service.line.start("web")
    assert service.redis.hlen("windback:imports:1") == before
    page.reload()
    expect(page.get_by_role("heading", name="The import was interrupted")).to_be_visible(timeout=2 * WAIT)
    check_page(page, "import-interrupted")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("heading", name="everything is stored and scored")).to_be_visible(timeout=2 * WAIT)
    assert service.count("unresolved_events WHERE user_id LIKE 'unknown-%%'") == 11_400
