from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from scoring.advice import TACTICS
from tests.sending import ago, track
from tests.workers.events import event

PATH = "/api/v1/customers/jane@example.com"
TEMPLATE = "/api/v1/drafts/templates/refund_rescue"


def test_facts_come_from_what_the_customer_said(jane: TestClient) -> None:
    advice = jane.get(PATH).json()["advice"]
    assert (advice["strategy"], advice["tactic"]) == ("refund_rescue", "founder_email")
    facts = advice["facts"]
    assert facts["refund_reason"] == "Exports keep failing"
    assert facts["nps_comment"] == "It is slow"
    assert facts["ticket_subjects"] == ["Cannot export data"]
    assert facts["last_failure"] == "export_failed"
    assert facts["refund_requested_at"].endswith("Z")


def test_a_draft_says_what_is_known(jane: TestClient) -> None:
    draft = jane.get(f"{PATH}/draft").json()
    assert draft["strategy"] == "refund_rescue"
    assert "“Exports keep failing”" in draft["body_text"]
    assert "“Cannot export data”" in draft["body_text"]
    assert draft["body_html"].startswith("<p>Hi,</p>")
    assert {"refund_reason", "ticket_subjects"} <= set(draft["facts_used"])
    assert draft["body_text"].count("?") == 1


def test_another_strategy_may_be_asked_for(jane: TestClient) -> None:
    draft = jane.get(f"{PATH}/draft", params={"strategy": "detractor_outreach"}).json()
    assert "“It is slow”" in draft["body_text"]
    assert jane.get(f"{PATH}/draft", params={"strategy": "begging"}).json()["code"] == "invalid_parameter"
    assert jane.get("/api/v1/customers/joe@example.com/draft").json()["code"] == "customer_not_found"


def test_the_accounts_own_template_replaces_ours(jane: TestClient) -> None:
    own = {
        "subject": "About {{ plan }}",
        "body_text": "Dear friend. You said {{ refund_reason | quoted }}. {{ zzz }} not.",
    }
    assert jane.put(TEMPLATE, json=own).json() == {
        "strategy": "refund_rescue",
        "tactic": "founder_email",
        **own,
        "own": True,
    }
    draft = jane.get(f"{PATH}/draft").json()
    assert draft["subject"] == "About pro"
    assert draft["body_text"] == "Dear friend. You said “Exports keep failing”."
    assert draft["facts_used"] == ["refund_reason", "plan"]
    assert jane.put(TEMPLATE, json={"subject": None, "body_text": None}).json()["own"] is False
    assert "try" in jane.get(f"{PATH}/draft").json()["body_text"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"body_text": "a\nb\n{{ plan"}, "line 3"),
        ({"body_text": "a\n{% for x in plan %}{% endfor %}"}, "line 2"),
        ({"body_text": "a\n{{ plan | day }}"}, "line 2"),
        ({"body_text": "{{ ().__class__ }}"}, "line 1"),
        ({"body_text": "  "}, "empty"),
        ({"subject": "{% if %}"}, "line 1"),
        ({"subject": 5}, "subject"),
        ({"body": "x"}, "body"),
        ({"body_text": "x" * 20_001}, "body_text"),
    ],
)
def test_a_bad_template_names_its_line_and_changes_nothing(acme: TestClient, body: Any, part: str) -> None:
    response = acme.put(TEMPLATE, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_template")
    assert part in response.json()["message"].lower()
    assert acme.get(TEMPLATE).json()["own"] is False


def test_every_strategy_has_a_template(acme: TestClient) -> None:
    templates = acme.get("/api/v1/drafts/templates").json()["templates"]
    assert {each["strategy"]: each["tactic"] for each in templates} == TACTICS
    assert acme.get("/api/v1/drafts/templates/begging").json()["code"] == "not_found"


def test_names_of_the_accounts_own_say_the_same(acme: TestClient, work: Callable[[], None]) -> None:
    """A ticket under another name is a ticket, and so are its words."""
    track(
        acme,
        *[event(timestamp=ago(days=day)) for day in range(20, 10, -1)],
        event(event="Ticket Created", properties={"subject": "Cannot export data"}, timestamp=ago(days=5)),
    )
    work()
    assert (
        acme.put("/api/v1/mappings", json={"mappings": {"Ticket Created": "support_ticket_opened"}}).status_code == 200
    )
    work()
    assert acme.get(PATH).json()["advice"]["facts"]["ticket_subjects"] == ["Cannot export data"]
