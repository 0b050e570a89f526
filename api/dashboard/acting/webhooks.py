"""The page *Alerts*: webhooks, the latest alerts, and their deliveries."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.alerts import webhooks
from api.alerts.alerts import read_alerts, send_again
from api.alerts.effect import read_effect
from api.alerts.webhooks import INVALID, NewWebhookBody, WebhookChange, id_of, read_webhooks
from api.dashboard import forms
from api.dashboard.acting.words import describe_effect
from api.dashboard.labels import STRATEGIES
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.errors import Refused
from api.reading.model import read_model
from workers.alerts.webhooks import DEFAULT_LEVEL, FORMATS, MIN_LEVELS

ALERTS: Final = 30  # on a page of the log
FORMAT_WORDS: Final = {"json": "JSON, signed", "slack": "A message for Slack"}
STATES: Final = {"delivered": "delivered", "waiting": "waiting", "failed": "failed"}


@page
async def list_or_add(request: Request, session: Session) -> Response:
    """`GET /alerts`: webhooks and the log. `POST`: adds a webhook and shows its secret, this once."""
    if request.method != "POST":
        return await _show(request, session)
    fields = await forms.read(request, session.token)
    try:
        created = await webhooks.create_webhook(request, session.account_id, _read_webhook(fields))
    except Refused as refused:
        if refused.code != INVALID:
            raise
        return await _show(request, session, 422, fault=refused.message, entered=fields)
    return await _show(request, session, created=created)


@page
async def change(request: Request, session: Session) -> Response:
    """`POST /alerts/webhooks/{webhook_id}`: tries, enables, disables or removes a webhook, as the button says."""
    fields = await forms.read(request, session.token)
    webhook_id = id_of(request, "webhook_id", "webhook_not_found")
    account_id, wish = session.account_id, fields.get("do", "")
    if wish == "test":
        outcome = await webhooks.send_example(request, account_id, webhook_id)
        return await _show(request, session, tried=outcome, tried_id=webhook_id)
    if wish == "remove":
        await webhooks.remove_webhook(request, account_id, webhook_id)
    elif wish in ("enable", "disable"):
        await webhooks.change_webhook(request, account_id, webhook_id, WebhookChange(enabled=wish == "enable"))
    return redirect("/alerts")


@page
async def redeliver(request: Request, session: Session) -> Response:
    """`POST /alerts/{alert_id}/redeliver`: sends an alert again."""
    await forms.read(request, session.token)
    await send_again(request, session.account_id, id_of(request, "alert_id", "alert_not_found"))
    return redirect("/alerts?sent=1#log")


@page
async def show_effect(request: Request, session: Session) -> Response:
    """`GET /alerts/effect`: the effect of alerts, in a sentence and by strategy."""
    effect = await read_effect(request, session.account_id)
    horizon_days = (await read_model(request, session.account_id)).horizon_days
    return render(
        request,
        "effect.html",
        session,
        effect=effect,
        horizon_days=horizon_days,
        sentences=describe_effect(effect, horizon_days),
        strategies=STRATEGIES,
    )


def _read_webhook(fields: Mapping[str, str]) -> NewWebhookBody:
    format_, level = fields.get("format", "json"), fields.get("min_level", DEFAULT_LEVEL)
    if format_ not in FORMATS or level not in MIN_LEVELS:
        raise Refused(INVALID, "Choose a format and a level from the lists.")
    description = fields.get("description", "").strip() or None
    return NewWebhookBody(fields.get("url", "").strip(), format_, level, description)  # type: ignore[arg-type]


async def _show(request: Request, session: Session, status: int = 200, **context: Any) -> Response:
    listed = await read_alerts(request, session.account_id, ALERTS)
    listed_webhooks = await read_webhooks(request, session.account_id)
    shown: dict[str, Any] = {
        "webhooks": listed_webhooks,
        "urls": {webhook.id: webhook.url for webhook in listed_webhooks},
        "alerts": listed.alerts,
        "next_cursor": listed.next_cursor,
        "formats": FORMAT_WORDS,
        "min_levels": MIN_LEVELS,
        "default_level": DEFAULT_LEVEL,
        "strategies": STRATEGIES,
        "states": STATES,
        "created": None,
        "tried": None,
        "tried_id": None,
        "fault": None,
        "entered": {},
        "sent": "sent" in request.query_params,
    }
    return render(request, "alerts.html", session, status, **{**shown, **context})
