"""`/events` and `/events/{name}`."""

import re
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import quote

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisAway
from starlette.testclient import TestClient

from api.dashboard.labels import RECOGNISED_WORDS
from api.dashboard.remedies import REMEDIES
from api.errors import CODES
from api.track.answers import EventCode
from scoring.events import RECOGNISED
from scoring.model import PRIOR, Term
from tests.sending import ago
from tests.workers.events import event
from tests.workers.worlds import account, fill, world
from workers.accounts import models
from workers.learning.trainer import train
from workers.store import Connection

HOSTILE = '</title><script>alert("x")</script>\u202e'


def track(client: TestClient, *events: dict[str, Any]) -> None:
    for at in range(0, len(events), 100):
        assert client.post("/api/v1/track", json={"events": events[at : at + 100]}).status_code in (200, 207, 422)


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/events/[^"]*"><bdi[^>]*>([^<]*)</bdi>', page)


@pytest.fixture
def sender(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """Five logins over five days, and a custom event of two customers."""
    track(
        signed_in,
        *[event(timestamp=ago(days=day, hours=1)) for day in range(5)],
        *[event(event="shared", customer_email=f"c{n}@example.com", properties={"to": "all"}) for n in range(2)],
    )
    work()
    return signed_in


def test_an_empty_account_reads_how_to_begin(signed_in: TestClient) -> None:
    page = signed_in.get("/events").text
    assert "No events yet" in page
    assert "curl http://testserver/api/v1/track" in page


def test_names_are_told_with_their_days_and_what_they_mean(sender: TestClient) -> None:
    page = sender.get("/events").text
    assert names(page) == ["login", "shared"]
    assert "5 in 30 days" in page
    assert "Lowers the risk" in page
    assert re.search(r"Stored.*2 of 50 customers", page)
    assert "12\u00a0standard events never sent" in page


def test_names_are_searched_and_filtered(sender: TestClient) -> None:
    assert names(sender.get("/events?q=LOG").text) == ["login"]
    assert names(sender.get("/events?kind=custom").text) == ["shared"]
    assert "No events found" in sender.get("/events?q=nothing").text
    assert sender.get("/events?kind=other").status_code == 422


def test_many_names_come_in_pages(signed_in: TestClient, work: Callable[[], None]) -> None:
    """Every name is on exactly one page, and a page stays light."""
    track(signed_in, *[event(event=f"name {n:03}", customer_email="a@example.com") for n in range(120)])
    work()
    seen, address = [], "/events"
    while address:
        page = signed_in.get(address).text
        assert len(page) < 100_000
        seen += names(page)
        following = re.search(r'rel="next" href="([^"]+)', page)
        address = following[1] if following else ""
    assert seen == [f"name {n:03}" for n in range(120)]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "99999999999"])
def test_a_page_that_is_none_is_refused(sender: TestClient, number: str) -> None:
    assert sender.get("/events", params={"page": number}).status_code == 422


def test_what_is_wrong_is_told_with_what_to_do(signed_in: TestClient, work: Callable[[], None]) -> None:
    track(signed_in, event(customer_email="nobody"), event(event="featureUsed"))
    signed_in.post("/api/v1/track", json=event(timestmap="2026-01-01"))
    work()
    page = signed_in.get("/events").text
    for text in (
        "without a valid e-mail address",
        "Unknown fields, ignored",
        "did you mean <code>timestamp</code>",
        "Two names",
    ):
        assert text in page


def test_warnings_that_cannot_be_read_cost_only_themselves(sender: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise RedisAway

    monkeypatch.setattr("workers.warnings.read_warnings", away)
    page = sender.get("/events")
    assert page.status_code == 200
    assert "be shown now, because Redis is unavailable" in page.text
    assert names(page.text) == ["login", "shared"]


def test_an_event_is_told_by_day_and_by_its_values(sender: TestClient) -> None:
    page = sender.get("/events/shared").text
    assert "2\u00a0events in this period" in page
    assert re.search(r"<h3><bdi>to</bdi></h3>.*?<bdi>all</bdi>.*?>2<", page, re.DOTALL)
    assert len(re.findall(r'class="hover"', page)) == 30
    assert len(re.findall(r'class="hover"', sender.get("/events/shared?span=90").text)) == 90


def test_an_event_that_nobody_sent_is_not_found(sender: TestClient) -> None:
    assert sender.get("/events/nothing").status_code == 404


def test_a_hostile_name_is_text_everywhere(signed_in: TestClient, work: Callable[[], None]) -> None:
    track(signed_in, event(event=HOSTILE, properties={HOSTILE: HOSTILE}))
    work()
    for address in ("/events", f"/events/{quote(HOSTILE, safe='')}"):
        page = signed_in.get(address)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert" in page.text


def test_counts_are_those_of_the_api(signed_in: TestClient, connection: Connection) -> None:
    fill(connection, world())
    counts = {one["event"]: one for one in signed_in.get("/api/v1/analytics/events").json()["events"]}
    page = signed_in.get("/events").text
    assert names(page) == list(counts)
    assert all(f"{count['count']:,}" in page for count in counts.values())


def test_a_custom_event_in_use_shows_its_weight(sender: TestClient, connection: Connection) -> None:
    account_id = account(connection)
    card = train(connection, account_id, 30)
    terms = (*PRIOR.terms, Term("event:shared", (0.42,)))
    models.save_models(connection, account_id, [msgspec.structs.replace(PRIOR, version="map-1", terms=terms)], card)
    models.use_model(connection, account_id, 1)
    for address in ("/events", "/events/shared"):
        page = sender.get(address).text
        assert "In use" in page
        assert "weight +0.42" in page
        assert "Raises the risk" in page


def test_every_recognised_event_is_explained() -> None:
    assert list(RECOGNISED_WORDS) == list(RECOGNISED)


def test_every_warning_has_a_remedy() -> None:
    """Warnings about events, about a key's requests, and about readers' doubts."""
    of_requests = {code for code, (status, _) in CODES.items() if status in (400, 408, 413, 415, 429)}
    seen = {
        "unknown_field",
        "near_duplicate_name",
        "personal_data",
        "secret_key_in_browser",
        "buffer_full",
        "buffer_unavailable",
    }
    assert {*get_args(EventCode), *of_requests, *seen} - {"malformed_http"} <= set(REMEDIES)
