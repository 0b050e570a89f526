"""Pages of drafts: the templates, and one of them with a preview on real customers."""

import time
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from api.alerts.drafts import EXAMPLE_FACTS, INVALID, DraftTemplate, read_templates, save_template, strategy_of
from api.dashboard import forms
from api.dashboard.labels import STRATEGIES
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.errors import Refused
from api.reading.common import fetch_all
from api.reading.merging import put_in_order
from api.reading.words import advice_with_words
from scoring.drafts.draft import Draft, Template, write_draft
from scoring.drafts.facts import facts_for
from scoring.drafts.language import TemplateError, names_of
from workers.store import sql

PREVIEWED: Final = 3  # customers
MOST_BYTES: Final = 200_000  # of a form: a template of any script, percent-encoded


class Preview(NamedTuple):
    """A draft for a customer, or why there is none."""

    email: str
    draft: Draft | None
    fault: str | None


@page
async def list_templates(request: Request, session: Session) -> Response:
    """`GET /drafts`: the templates of all strategies."""
    templates = await read_templates(request, session.account_id)
    subjects = {template.strategy: _describe_subject(template) for template in templates}
    return render(request, "drafts.html", session, templates=templates, subjects=subjects, strategies=STRATEGIES)


def _describe_subject(template: DraftTemplate) -> str:
    """The subject as an example customer gets it."""
    preview = _preview("", EXAMPLE_FACTS, template.strategy, Template(template.subject, template.body_text))
    return preview.draft.subject if preview.draft else template.subject


@page
async def show_or_save(request: Request, session: Session) -> Response:
    """`GET /drafts/{strategy}`: a template and previews. `POST`: previews it, saves it, or brings ours back."""
    strategy = strategy_of(request)
    templates = await read_templates(request, session.account_id)
    current = next(template for template in templates if template.strategy == strategy)
    if request.method != "POST":
        return await _show(request, session, current, Template(current.subject, current.body_text))
    fields = await forms.read(request, session.token, MOST_BYTES)
    if fields.get("do") == "reset":
        await save_template(request, session.account_id, strategy, None, None)
        return redirect(f"/drafts/{strategy}?saved=1")
    edited = _read_template(fields)
    if fields.get("do") != "save":
        return await _show(request, session, current, edited)
    try:
        await save_template(request, session.account_id, strategy, *edited)
    except Refused as refused:
        if refused.code != INVALID:
            raise
        return await _show(request, session, current, edited, refused.message)
    return redirect(f"/drafts/{strategy}?saved=1")


def _read_template(fields: Mapping[str, str]) -> Template:
    return Template(fields.get("subject", ""), fields.get("body_text", "").replace("\r\n", "\n"))


async def _show(
    request: Request, session: Session, current: DraftTemplate, edited: Template, fault: str | None = None
) -> Response:
    previews = await _previews(request, session.account_id, current.strategy, edited)
    return render(
        request,
        "draft.html",
        session,
        422 if fault else 200,
        kept=current,
        edited=edited,
        previews=previews,
        fault=fault or next((preview.fault for preview in previews if preview.fault), None),
        facts=sorted(EXAMPLE_FACTS),
        strategies=STRATEGIES,
        saved="saved" in request.query_params,
        strange=_explain_strange(edited),
    )


def _explain_strange(template: Template) -> str | None:
    """Returns a warning about names that are no facts, or None."""
    facts = facts_for(EXAMPLE_FACTS)
    try:
        names = sorted(set().union(*map(names_of, template)) - facts.keys())
    except TemplateError:
        return None
    if not names:
        return None
    near = get_close_matches(names[0], facts, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"There is no fact called `{names[0]}`, so sentences with it are left out.{hint}"


async def _previews(request: Request, account_id: int, strategy: str, template: Template) -> list[Preview]:
    """Returns drafts by the template for some customers with this strategy, or else for an example."""
    parameters = {"account_id": account_id, "strategy": strategy, "limit": PREVIEWED}
    cells = await fetch_all(request, sql("advised_customers"), parameters)
    rows = put_in_order(cells, ("order", "customer_id"), PREVIEWED)
    examples: list[tuple[str, dict[str, Any]]] = []
    for row in rows:
        advice = await advice_with_words(request, row)
        examples.append((row["email"], advice.facts if advice else {}))
    return [_preview(email, facts, strategy, template) for email, facts in examples or [("an example", EXAMPLE_FACTS)]]


def _preview(email: str, facts: Mapping[str, Any], strategy: str, template: Template) -> Preview:
    try:
        return Preview(email, write_draft(strategy, facts, time.time(), template), None)
    except TemplateError as error:
        return Preview(email, None, f"{str(error).capitalize()}.")
