"""Drafts: `GET /api/v1/customers/{email}/draft`, and the templates that they are made from."""

import time
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.errors import Refused
from api.reading import query
from api.reading.common import account_of, answer, fetch
from api.reading.customer import find
from api.reading.words import advice_with_words
from scoring.advice import TACTICS, Advice
from scoring.drafts.draft import Draft, Template, template_of, write_draft
from scoring.drafts.language import MOST_CHARACTERS, TemplateError, compiled
from scoring.drafts.letters import LETTERS
from workers.store import sql

INVALID = "invalid_template"
NO_ADVICE = Advice("none", "none", "", {})
EXAMPLE_FACTS = {
    "name": "Jane Doe",
    "company": "Example Ltd",
    "plan": "pro",
    "favourite_feature": "exports",
    "favourite_last_used": "2025-11-29T09:00:00Z",
    "last_active": "2025-12-01T10:00:00Z",
    "last_login": "2025-11-30T10:00:00Z",
    "open_tickets": 2,
    "ticket_subjects": ["Cannot export data", "Lost a report"],
    "overdue_since": "2025-11-20T00:00:00Z",
    "refund_requested_at": "2025-12-01T10:00:00Z",
    "refund_reason": "Exports keep failing",
    "downgraded_at": "2025-11-25T00:00:00Z",
    "trial_started_at": "2025-11-20T00:00:00Z",
    "nps": 4,
    "nps_comment": "It is slow",
    "last_failure": "export_failed",
    "last_failure_at": "2025-12-01T09:00:00Z",
}

Source = Annotated[str, Meta(max_length=MOST_CHARACTERS, pattern="^[^\0]*$")]


class DraftTemplate(Struct):
    """The template for the drafts of a strategy. `own`: it is the account's, in place of ours."""

    strategy: str
    tactic: str | None
    subject: str
    body_text: str
    own: bool


class DraftTemplates(Struct):
    """The templates of all strategies."""

    templates: list[DraftTemplate]


class NewTemplate(Struct, forbid_unknown_fields=True):
    """The account's own template. A part that is null is ours; with both, ours holds again."""

    subject: Source | None = None
    body_text: Source | None = None


@query.accepts("strategy")
async def show_draft(request: Request) -> Response:
    """`GET /api/v1/customers/{email}/draft`: an e-mail for this customer. Windback does not send it."""
    account_id = await account_of(request)
    row = await find(request, account_id, request.path_params["email"])
    strategy = query.choice(request, "strategy", list(LETTERS))
    return answer(await draft_for(request, account_id, row, strategy))


@query.accepts()
async def list_templates(request: Request) -> Response:
    """`GET /api/v1/drafts/templates`: those of all strategies."""
    return answer(DraftTemplates(await read_templates(request, await account_of(request))))


@query.accepts()
async def show_or_put_template(request: Request) -> Response:
    """`GET` and `PUT /api/v1/drafts/templates/{strategy}`."""
    account_id, strategy = await account_of(request), strategy_of(request)
    if request.method == "PUT":
        wanted = await read_json(request, NewTemplate, INVALID)
        await save_template(request, account_id, strategy, wanted.subject, wanted.body_text)
    return answer(next(each for each in await read_templates(request, account_id) if each.strategy == strategy))


def strategy_of(request: Request) -> str:
    """The strategy that the path names. Raises Refused."""
    strategy: str = request.path_params["strategy"]
    if strategy not in LETTERS:
        raise Refused("not_found", f"There is no strategy of this name; there are {', '.join(LETTERS)}.")
    return strategy


async def read_templates(request: Request, account_id: int) -> list[DraftTemplate]:
    """The templates of an account: its own, or ours. Raises Refused."""
    rows = await fetch(request, sql("list_templates"), {"account_id": account_id})
    own = {row["strategy"]: Template(row["subject"], row["body_text"]) for row in rows}
    return [
        DraftTemplate(strategy, TACTICS.get(strategy), *own.get(strategy, template_of(strategy)), strategy in own)
        for strategy in LETTERS
    ]


async def save_template(
    request: Request, account_id: int, strategy: str, subject: str | None, body_text: str | None
) -> None:
    """Make this the account's template of a strategy; without either part, ours holds. Raises Refused."""
    parameters: dict[str, Any] = {"account_id": account_id, "strategy": strategy}
    if subject is None and body_text is None:
        await fetch(request, sql("drop_template"), parameters)
        return
    ours = template_of(strategy)
    wanted = Template(ours.subject if subject is None else subject, ours.body_text if body_text is None else body_text)
    check_template(strategy, wanted)
    await fetch(request, sql("save_template"), {**parameters, **wanted._asdict()})


def check_template(strategy: str, template: Template) -> None:
    """Try a template on all facts and on none. Raises Refused, invalid_template."""
    for name, source in template._asdict().items():
        if not source.strip():
            raise Refused(INVALID, f"`{name}` is empty; send null for both parts to use Windback's own template.")
        try:
            compiled(source)
        except TemplateError as error:
            raise Refused(INVALID, f"`{name}`, {error}.") from None
    for facts in (EXAMPLE_FACTS, {}):
        try:
            write_draft(strategy, facts, time.time(), template)
        except TemplateError as error:
            raise Refused(INVALID, f"{str(error).capitalize()}.") from None


async def draft_for(request: Request, account_id: int, row: dict[str, Any], strategy: str | None = None) -> Draft:
    """A draft for the customer of this row: by the advised strategy unless another one is named, by the account's
    template, or by ours where that one can't be used for this customer. Raises Refused, store_unavailable."""
    advice = await advice_with_words(request, row) or NO_ADVICE
    chosen = strategy or (advice.strategy if advice.strategy in LETTERS else "none")
    try:
        return write_draft(chosen, advice.facts, time.time(), await _own_template(request, account_id, chosen))
    except TemplateError:
        return write_draft(chosen, advice.facts, time.time())


async def _own_template(request: Request, account_id: int, strategy: str) -> Template | None:
    rows = await fetch(request, sql("list_templates"), {"account_id": account_id})
    return next((Template(row["subject"], row["body_text"]) for row in rows if row["strategy"] == strategy), None)
