"""The roles of events: their page, the overview's question, the buttons on an event's page."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.api.dashboard.conftest import token_in
from tests.sending import ago
from tests.workers.events import event

QUESTION = "Which of your events means that somebody uses your product?"


@pytest.fixture
def sent(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """An account that sends 100 events under names of its own, none of them recognised as use."""
    signed_in.post(
        "/api/v1/track", json={"events": [event(event="Signed In", timestamp=ago(days=n)) for n in range(60)]}
    )
    signed_in.post(
        "/api/v1/track", json={"events": [event(event="Email Sent", timestamp=ago(days=n)) for n in range(40)]}
    )
    work()
    return signed_in


def post(client: TestClient, **fields: str) -> tuple[int, str]:
    token = token_in(client.get("/keys").text)
    answer = client.post("/mappings", data={"token": token, **fields}, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", "")


def mapped(client: TestClient) -> dict[str, str]:
    return dict(client.get("/api/v1/mappings").json()["mappings"])


def test_the_overview_asks_until_use_is_understood(sent: TestClient) -> None:
    page = sent.get("/").text
    assert QUESTION in page
    assert 'name="role:Signed In" value="login" checked' in page
    assert "role:Email Sent" not in page
    assert "No event says that somebody uses your product" in page
    assert "The data can be trusted" not in page
    assert post(sent, back="/", **{"role:Signed In": "login"}) == (303, "/")
    assert mapped(sent) == {"Signed In": "login"}
    assert QUESTION not in sent.get("/").text


def test_nobody_is_asked_before_100_events_or_with_a_login(signed_in: TestClient, work: Callable[[], None]) -> None:
    signed_in.post("/api/v1/track", json={"events": [event(event="x", timestamp=ago(days=n)) for n in range(99)]})
    work()
    assert QUESTION not in signed_in.get("/").text
    signed_in.post("/api/v1/track", json={"events": [event(), event(event="x")]})
    work()
    assert QUESTION not in signed_in.get("/").text


def test_the_page_shows_every_name_with_its_proposal_and_saves(sent: TestClient) -> None:
    page = sent.get("/mappings").text
    assert '<option value="login" selected>' in page
    assert "proposed" in page
    assert post(sent, **{"role:Signed In": "engagement", "role:Email Sent": ""})[0] == 303
    assert mapped(sent) == {"Signed In": "engagement"}
    assert "Saved." in sent.get("/mappings?saved=1").text


def test_an_events_page_has_buttons(sent: TestClient) -> None:
    page = sent.get("/events/Signed%20In").text
    assert "It counts as use" in page
    assert post(sent, event="Signed In", role="churn", back="/events/Signed%20In") == (303, "/events/Signed%20In")
    assert mapped(sent) == {"Signed In": "churn"}
    assert "Means that the customer has left" in sent.get("/events/Signed%20In").text
    post(sent, event="Signed In", role="")
    assert mapped(sent) == {}


def test_what_can_not_be_is_said_on_the_page(sent: TestClient) -> None:
    assert post(sent, event="never sent", role="login")[0] == 422
    assert post(sent, event="Signed In", role="nonsense")[0] == 422
    assert mapped(sent) == {}


def test_nobody_is_led_elsewhere(sent: TestClient) -> None:
    assert post(sent, event="Signed In", role="login", back="https://evil.example/") == (303, "/mappings?saved=1")


def test_an_account_without_own_names_has_nothing_to_say(signed_in: TestClient) -> None:
    assert "No event of your own yet" in signed_in.get("/mappings").text
