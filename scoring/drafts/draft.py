"""A draft of an e-mail to a customer, from a strategy's template and the facts."""

from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

from msgspec import Struct

from scoring.drafts.facts import facts_for
from scoring.drafts.language import render
from scoring.drafts.letters import LETTERS, SUBJECTS


class Template(NamedTuple):
    """The template for the drafts of a strategy."""

    subject: str
    body_text: str


class Draft(Struct):
    """An e-mail to send by hand. `facts_used` are the names of the facts that it mentions."""

    strategy: str
    subject: str
    body_text: str
    body_html: str
    facts_used: list[str]


def template_of(strategy: str) -> Template:
    """Our own template of a strategy. Raises KeyError where there is no such strategy."""
    return Template(*LETTERS[strategy])


def write_draft(strategy: str, facts: Mapping[str, Any], now: float, template: Template | None = None) -> Draft:
    """The draft for these facts at `now` (epoch seconds), by our template or another one. Raises TemplateError."""
    subject, body = template or template_of(strategy)
    context = facts_for(facts)
    title, in_title = render(subject, context, now)
    text, in_text = render(body, context, now)
    title = " ".join(title.split()) or SUBJECTS[strategy]
    return Draft(strategy, title, text, to_html(text), list(dict.fromkeys([*in_text, *in_title])))


def to_html(text: str) -> str:
    """A letter's text as HTML: a paragraph for each block of lines."""
    blocks = [block.strip() for block in text.split("\n\n") if block.strip()]
    return "\n".join(f"<p>{escape(block).replace(chr(10), '<br>')}</p>" for block in blocks)
