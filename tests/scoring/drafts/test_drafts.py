"""Drafts of a hundred simulated customers, and of anybody's templates."""

import re
from typing import Any

import pytest

from scoring.advice import TACTICS, Advice
from scoring.drafts.draft import Template, to_html, write_draft
from scoring.drafts.language import TemplateError
from scoring.drafts.letters import LETTERS, SUBJECTS
from scoring.score import score
from tests.scoring.simulator import COMPLAINTS, START, Kind, simulate

DAY = 86400.0
NOW = (START + 120) * DAY
FACTS: dict[str, Any] = {
    "name": "Jane Doe",
    "plan": "pro",
    "favourite_feature": "custom_report",
    "favourite_last_used": "2022-04-01T09:00:00Z",
    "last_active": "2022-04-20T09:00:00Z",
    "open_tickets": 2,
    "ticket_subjects": ["Cannot export data. At all!", "Lost a report"],
    "overdue_since": "2022-04-10T00:00:00Z",
    "refund_requested_at": "2022-04-21T09:00:00Z",
    "refund_reason": "Exports keep failing.",
    "nps": 3,
    "nps_comment": "Slow, and (sometimes) wrong?",
    "last_failure": "export_failed",
    "last_failure_at": "2022-04-19T09:00:00Z",
}


@pytest.fixture(scope="module")
def advised() -> list[Advice]:
    """The advice for a hundred customers, several of them in trouble."""
    complaints = {name: (rate * 5, factor) for name, (rate, factor) in COMPLAINTS.items()}
    world = simulate(Kind(visits=0.4, monthly_churn=0.2, complaints=complaints), customers=100, days=120)
    return score(world.rollup, NOW).advice


def test_the_drafts_of_simulated_customers_say_only_what_is_known(advised: list[Advice]) -> None:
    assert len({advice.strategy for advice in advised}) >= 3
    for advice in advised:
        draft = write_draft(advice.strategy, advice.facts, NOW)
        whole = f"{draft.subject}\n{draft.body_text}"
        assert not re.search(r"\{|\}|None|nan|undefined|\ue000|[\ue001-\uf8ff]", whole)
        assert not re.search(r"  |“”|\s[.,!?]", whole.replace("\n", "¶"))
        assert set(draft.facts_used) <= advice.facts.keys()
        assert draft.subject.strip()
        assert draft.body_text.startswith("Hi,\n")
        assert draft.body_text.count("?") == 1
        assert len(draft.body_text) < 600


@pytest.mark.parametrize("strategy", LETTERS)
def test_no_fact_is_said_twice(strategy: str) -> None:
    """The subject line apart: it may name the ticket that the letter is about."""
    body = write_draft(strategy, FACTS, NOW).body_text
    matches = re.findall(r"“[^”]*”|\d+ [A-Z][a-z]+|custom report", body)
    assert len(matches) == len(set(matches))


@pytest.mark.parametrize("strategy", LETTERS)
@pytest.mark.parametrize("known", [[], ["name"], ["plan"], list(FACTS), *([name] for name in FACTS)])
def test_whatever_is_known_a_letter_is_whole(strategy: str, known: list[str]) -> None:
    draft = write_draft(strategy, {name: FACTS[name] for name in known}, NOW)
    assert set(draft.facts_used) <= set(known)
    assert draft.subject
    assert draft.body_text.endswith("Best regards")
    assert draft.body_html.count("<p>") == draft.body_text.count("\n\n") + 1


def test_every_strategy_has_a_letter_and_a_tactic() -> None:
    assert LETTERS.keys() == SUBJECTS.keys() == TACTICS.keys()
    hosted = {"value_recap", "unused_feature", "downgrade_offer", "pause_option", "founder_email", "pain_point_fix"}
    assert {*TACTICS.values()} == {*hosted, "social_proof", "feedback_request", "discount", None}


def text_of(template: str, **facts: Any) -> str:
    return write_draft("none", {**FACTS, **facts}, NOW, Template("x", template)).body_text


def test_a_sentence_without_its_fact_is_left_out() -> None:
    assert text_of("One. You have {{ unknown }} things. Two, {{ plan }}!") == "One. Two, pro!"
    assert text_of("{{ unknown | upper }}\nrest") == "rest"
    assert text_of("{{ unknown | day }} is it. {% if unknown < 5 %}no{% endif %}End.") == "End."


def test_stops_inside_a_fact_end_no_sentence() -> None:
    assert text_of("You wrote {{ refund_reason }} and {{ unknown }}. Yes.", refund_reason="A. B! C?") == "Yes."
    assert text_of("You wrote: {{ refund_reason }}", refund_reason="A. B! C?") == "You wrote: A. B! C?"


def test_facts_are_text_and_no_template() -> None:
    for hostile in ("{{ 7 * 7 }}", "{% for x in y %}", "<script>", "\ue000\ue005x\ue006", "a\nb\r\nc", "x" * 999):
        text = text_of("{{ refund_reason | quoted }}", refund_reason=hostile)
        assert "49" not in text
        assert "\n" not in text
        assert len(text) <= 210
    assert to_html("a <b>\n\nc & d") == "<p>a &lt;b&gt;</p>\n<p>c &amp; d</p>"


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("a\n\n{{ plan", 3),
        ("{% for i in range(9) %}{% endfor %}", 1),
        ("a\n{{ 'x' * 1000000 }}", 2),
        ("{{ plan.__class__ }}", 1),
        ("{{ plan['x'] }}", 1),
        ("{{ cycler() }}", 1),
        ("{% set x = 1 %}", 1),
        ("{% include 'x' %}", 1),
        ("{% macro x() %}{% endmacro %}", 1),
        ("a\n{{ plan | center(10000000) }}", 2),
        ("{{ plan | day }}", 1),
        ("{{ plan is even }}", 1),
        ("{{ nps < plan }}", 1),
        ("{{ [1] * 9 }}", 1),
        ("{{ 9 ** 9 ** 9 }}", 1),
        ("x\n\ue000", 2),
        ("x" * 20_001, 1),
        ("{% if a %}" * 500, 1),
    ],
)
def test_a_bad_template_names_its_line(template: str, line: int) -> None:
    with pytest.raises(TemplateError) as error:
        text_of(template)
    assert error.value.line == line
    assert str(error.value).startswith(f"line {line}: ")
