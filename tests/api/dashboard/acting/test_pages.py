"""The pages of acting on a risk: they work without a script, and a mistake breaks none of them."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from starlette.testclient import TestClient

from scoring.drafts.letters import LETTERS
from tests.api.dashboard.conftest import token_in
from tests.sending import ago, track
from tests.workers.alerts.receiver import Receiver, receiving
from tests.workers.alerts.worlds import alert, rise
from tests.workers.events import event
from workers.settings import Settings
from workers.store import Connection

JANE = "/customers/jane@example.com"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_private_addresses=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def jane(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """Somebody who has asked for a refund, and said why."""
    track(
        signed_in,
        *[event(timestamp=ago(days=day)) for day in range(20, 10, -1)],
        event(event="support_ticket_opened", properties={"subject": "Cannot <b>export</b>"}, timestamp=ago(days=5)),
        event(event="refund_requested", properties={"reason": "Exports keep failing"}, timestamp=ago(days=2)),
    )
    work()
    return signed_in


def send(client: TestClient, page: str, action: str, **fields: str) -> str:
    """Send a form of a page; what is seen then."""
    answer = client.post(action, data={"token": token_in(client.get(page).text), **fields})
    assert answer.status_code in (200, 422)
    return answer.text


def test_a_webhook_is_added_tried_disabled_and_removed(
    signed_in: TestClient, receiver: Receiver, connection: Connection
) -> None:
    assert "whsec_" in send(signed_in, "/alerts", "/alerts", url=receiver.url, min_level="high", format="json")
    assert "whsec_" not in signed_in.get("/alerts").text
    ((webhook_id,),) = connection.execute("SELECT webhook_id::text FROM webhooks").fetchall()
    action = f"/alerts/webhooks/{webhook_id}"
    assert "was delivered" in send(signed_in, "/alerts", action, do="test")
    receiver.status = 404
    assert "answered 404" in send(signed_in, "/alerts", action, do="test")
    assert "disabled" in send(signed_in, "/alerts", action, do="disable")
    assert ">disabled<" not in send(signed_in, "/alerts", action, do="enable")
    send(signed_in, "/alerts", action, do="remove")
    assert connection.execute("SELECT count(*) FROM webhooks").fetchone() == (0,)


@pytest.mark.parametrize("fields", [{"url": "nonsense"}, {"url": "https://a.example/", "min_level": "x"}, {}])
def test_a_mistake_in_the_form_is_told_beside_it(signed_in: TestClient, fields: dict[str, str]) -> None:
    page = send(signed_in, "/alerts", "/alerts", **fields)
    assert 'class="fault" id="fault"' in page


def test_the_log_says_what_became_of_an_alert(
    signed_in: TestClient, receiver: Receiver, connection: Connection
) -> None:
    send(signed_in, "/alerts", "/alerts", url=receiver.url)
    ((account_id,),) = connection.execute("SELECT account_id FROM accounts").fetchall()
    alert(connection, account_id, [rise(connection, account_id, "joe@example.com")])
    connection.execute("UPDATE deliveries SET state = 'failed', attempts = 3, last_error = 'answered 500'")
    page = signed_in.get("/alerts").text
    assert "joe<wbr>@example.com" in page
    assert "answered 500" in page
    ((alert_id,),) = connection.execute("SELECT alert_id::text FROM alerts").fetchall()
    assert "on its way again" in send(signed_in, "/alerts", f"/alerts/{alert_id}/redeliver")
    assert connection.execute("SELECT state FROM deliveries").fetchone() == ("waiting",)


def test_the_effect_is_said_in_a_sentence(signed_in: TestClient) -> None:
    assert "No alert is old enough yet" in signed_in.get("/alerts/effect").text


def test_a_customers_page_has_the_draft_and_what_was_done(jane: TestClient) -> None:
    page = jane.get(JANE).text
    assert "“Exports keep failing”" in page
    assert "Cannot &lt;b&gt;export&lt;/b&gt;" in page
    assert "mailto:jane@example.com?subject=" in page
    page = send(jane, JANE, f"{JANE}/handlings", what="noted", text="Called <twice>")
    assert page.count("Called &lt;twice&gt;") == 2  # in the box and in the timeline
    assert "Write what the note" in send(jane, JANE, f"{JANE}/handlings", what="noted", text=" ")
    assert "Not on the list" in send(jane, JANE, f"{JANE}/handlings", what="snoozed")


def test_who_is_put_off_leaves_the_list(jane: TestClient, connection: Connection) -> None:
    connection.execute("UPDATE customers SET level = 'high', state = 'active'")
    assert JANE in jane.get("/").text
    page = send(jane, "/", f"{JANE}/handlings", what="contacted", back="/")
    assert f'href="{JANE}"' not in page.partition("Who to talk to first")[2].partition("</section>")[0]


def test_a_template_is_previewed_saved_and_given_back(jane: TestClient) -> None:
    path = "/drafts/refund_rescue"
    assert "s template. If you save a change, yours replaces it" in jane.get(path).text
    text = "Dear {{ name }}. You wrote {{ refund_reason | quoted }}."
    shown = send(jane, path, path, subject="Hello", body_text=text, do="preview")
    assert "You wrote “Exports keep failing”." in shown
    assert "your own template" not in shown
    shown = send(jane, path, path, subject="Hello", body_text="a\n{{ plan", do="save")
    assert "line 2" in shown
    assert "{{ plan" in shown
    assert "your own template" in send(jane, path, path, subject="Hello", body_text=text, do="save")
    assert ">yours<" in jane.get("/drafts").text
    assert "s template. If you save a change, yours replaces it" in send(jane, path, path, do="reset")


def test_a_template_with_a_misspelt_fact_is_warned_of(jane: TestClient) -> None:
    path = "/drafts/refund_rescue"
    shown = send(jane, path, path, subject="Hello", body_text="Dear {{ nam }}. Hello.", do="preview")
    assert "There is no fact called <code>nam</code>" in shown
    assert "Did you mean <code>name</code>?" in shown
    ours = jane.get("/drafts/none").text
    assert "There is no fact called" not in ours


@pytest.mark.parametrize("strategy", list(LETTERS))
def test_our_own_templates_use_facts_alone(jane: TestClient, strategy: str) -> None:
    assert "There is no fact called" not in jane.get(f"/drafts/{strategy}").text


def test_a_form_of_another_site_does_nothing(jane: TestClient, connection: Connection) -> None:
    for path in ("/alerts", "/drafts/none", f"{JANE}/handlings"):
        assert jane.post(path, data={"token": "x", "what": "contacted", "do": "save"}).status_code == 403
    assert connection.execute("SELECT count(*) FROM handlings").fetchone() == (0,)
