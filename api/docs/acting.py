"""The routes of acting on a risk, as the document of the API describes them."""

from typing import Any

from api.alerts import alerts, drafts, effect, handlings, webhooks
from api.docs.openapi import Operation, Parameter, Reply, RequestBody
from api.reading.query import DEFAULT_LIMIT, HIGHEST_LIMIT
from scoring.drafts.draft import Draft
from scoring.drafts.letters import LETTERS

Json = dict[str, Any]

TAG = "Acting"
KEY = ("missing_api_key", "invalid_api_key", "buffer_unavailable", "key_not_allowed")
STORE = "store_unavailable"
UNREADABLE = ("malformed_json", "payload_too_large", "body_timeout", "overloaded")
STRANGER = ("customer_not_found", "not_found")
WEBHOOK_ID = "0198f3a0-6a7e-4c1e-9a57-0d5a3c1b2e4f"
ALERT_ID = "5e2b3c1a-90ab-4cde-8f01-23456789abcd"

WEBHOOK: Json = {
    "id": WEBHOOK_ID,
    "url": "https://example.com/hook",
    "format": "json",
    "min_level": "high",
    "description": "The success team",
    "enabled": True,
    "created_at": "2025-12-01T10:00:00Z",
}
LISTED: Json = {**WEBHOOK, "last_delivery": {"at": "2025-12-13T09:00:04Z", "status": 200}}
CREATED: Json = {**WEBHOOK, "secret": "whsec_…"}
ALERT: Json = {
    "id": ALERT_ID,
    "email": "jane@example.com",
    "at": "2025-12-13T09:00:02Z",
    "level_before": "medium",
    "level": "high",
    "score": 63.2,
    "reason": "No login for 12 days",
    "strategy": "support_follow_up",
    "plan": "pro",
    "name": "Jane",
    "company": "Example Ltd",
    "mrr": 4900,
    "currency": "EUR",
    "mrr_at_risk": 3097,
    "held_out": False,
    "deliveries": [
        {
            "webhook_id": WEBHOOK_ID,
            "state": "delivered",
            "attempts": 1,
            "last_status": 200,
            "next_attempt_at": None,
            "error": None,
        }
    ],
}
GROUPS: Json = {
    "alerted": {"customers": 310, "lapsed": 120},
    "held_out": {"customers": 90, "lapsed": 54},
    "difference": -0.2129,
    "interval": [-0.3214, -0.0961],
    "needed": 0,
}
EFFECT: Json = {**GROUPS, "by_strategy": [{"strategy": "support_follow_up", **GROUPS}]}
DRAFT: Json = {
    "strategy": "support_follow_up",
    "subject": "Cannot export data",
    "body_text": "Hi,\n\nYour request “Cannot export data” is still open with us, and I'm sorry about the wait.\n\n"
    "Is this still in your way today?\n\nBest regards",
    "body_html": "<p>Hi,</p>\n<p>Your request “Cannot export data” is still open with us, and I'm sorry about the "
    "wait.</p>\n<p>Is this still in your way today?</p>\n<p>Best regards</p>",
    "facts_used": ["ticket_subjects"],
}
TEMPLATE: Json = {
    "strategy": "re_engagement",
    "tactic": "value_recap",
    "subject": "A short question",
    "body_text": "Hi,\n\nThe last time that I see you is {{ last_active | day }}.\n\nIs there something you miss?\n",
    "own": True,
}
NEW_TEMPLATE: Json = {"subject": TEMPLATE["subject"], "body_text": TEMPLATE["body_text"]}
HANDLING: Json = {
    "id": "7a1c0a52-4be4-4b0e-8d8e-5e0f7a3b9c11",
    "at": "2025-12-13T10:00:00Z",
    "what": "contacted",
    "until": None,
    "text": "Wrote about the export",
    "who": "Ann",
}

EMAIL = Parameter(
    "email", {"type": "string", "minLength": 1}, "The customer's e-mail address.", "jane@example.com", "path"
)
WEBHOOK_PATH = Parameter("webhook_id", {"type": "string", "minLength": 1}, "The webhook's id.", WEBHOOK_ID, "path")
ALERT_PATH = Parameter("alert_id", {"type": "string", "minLength": 1}, "The alert's id.", ALERT_ID, "path")
STRATEGY_PATH = Parameter("strategy", {"enum": list(LETTERS)}, "A strategy of advice.", "re_engagement", "path")
PAGE = (
    Parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": HIGHEST_LIMIT, "default": DEFAULT_LIMIT},
        "How many rows a page has.",
    ),
    Parameter(
        "cursor",
        {"type": "string", "format": "cursor", "pattern": "^[A-Za-z0-9_-]*$"},
        "The `next_cursor` of the page before this one.",
    ),
)

OPERATIONS = (
    Operation(
        "list_webhooks",
        "GET",
        "/api/v1/webhooks",
        TAG,
        "List webhooks",
        "The addresses that get this account's alerts.",
        {200: Reply("The webhooks", webhooks.Webhooks, {"webhooks": [LISTED]})},
        (*KEY, "invalid_parameter", STORE),
    ),
    Operation(
        "create_webhook",
        "POST",
        "/api/v1/webhooks",
        TAG,
        "Make a webhook",
        "From now on, this address gets a message when a customer's risk rises to `min_level` or above: JSON "
        "(`churn_risk.alert`), signed as Standard Webhooks and in `X-Windback-Signature`, or a message for Slack. The "
        "secret is shown once.",
        {201: Reply("The webhook", webhooks.CreatedWebhook, CREATED)},
        (*KEY, "invalid_parameter", *UNREADABLE, webhooks.INVALID, STORE),
        body=RequestBody(
            (webhooks.NewWebhookBody,),
            {"JSON": {"url": WEBHOOK["url"], "min_level": "high"}, "Slack": {"url": WEBHOOK["url"], "format": "slack"}},
        ),
    ),
    Operation(
        "change_webhook",
        "PATCH",
        "/api/v1/webhooks/{webhook_id}",
        TAG,
        "Change a webhook",
        "Changes the fields that are named. A disabled webhook is sent nothing; its deliveries wait for three days.",
        {204: Reply("It is changed", None, None)},
        (*KEY, *UNREADABLE, "webhook_not_found", "not_found", webhooks.INVALID, STORE),
        (WEBHOOK_PATH,),
        body=RequestBody((webhooks.WebhookChange,), {"A pause": {"enabled": False}}),
    ),
    Operation(
        "remove_webhook",
        "DELETE",
        "/api/v1/webhooks/{webhook_id}",
        TAG,
        "Remove a webhook",
        "Removes a webhook, and the deliveries that wait for it.",
        {204: Reply("It is gone", None, None)},
        (*KEY, "webhook_not_found", "not_found", STORE),
        (WEBHOOK_PATH,),
    ),
    Operation(
        "try_webhook",
        "POST",
        "/api/v1/webhooks/{webhook_id}/test",
        TAG,
        "Try a webhook",
        "Delivers an example now, with `test` in its body.",
        {200: Reply("The result", webhooks.Tried, {"delivered": True, "status": 200})},
        (*KEY, "webhook_not_found", "not_found", STORE),
        (WEBHOOK_PATH,),
    ),
    Operation(
        "list_alerts",
        "GET",
        "/api/v1/alerts",
        TAG,
        "List alerts",
        "The alerts, newest first, and their deliveries.",
        {200: Reply("A page of alerts", alerts.Alerts, {"alerts": [ALERT], "next_cursor": None})},
        (*KEY, "invalid_parameter", STORE),
        PAGE,
    ),
    Operation(
        "redeliver_alert",
        "POST",
        "/api/v1/alerts/{alert_id}/redeliver",
        TAG,
        "Send an alert again",
        "Sends it again to every webhook that it had gone to, with the same id.",
        {202: Reply("It is on its way", alerts.Redelivered, {"status": "ok"})},
        (*KEY, "alert_not_found", "not_found", STORE),
        (ALERT_PATH,),
    ),
    Operation(
        "show_effect",
        "GET",
        "/api/v1/alerts/effect",
        TAG,
        "Show the effect of alerts",
        "The lapse rates of alerted customers and of held-out ones (`windback accounts set --holdout-percent`), by "
        "intention to treat: each customer counts at the first alert whose horizon is past.",
        {200: Reply("The effect", effect.AlertEffect, EFFECT)},
        (*KEY, "invalid_parameter", STORE),
    ),
    Operation(
        "show_draft",
        "GET",
        "/api/v1/customers/{email}/draft",
        TAG,
        "Draft an e-mail",
        "An e-mail to this customer, from the known facts, by the advised strategy or another one. Windback never "
        "sends it.",
        {200: Reply("The draft", Draft, DRAFT)},
        (*KEY, *STRANGER, "invalid_parameter", drafts.INVALID, STORE),
        (EMAIL, Parameter("strategy", {"enum": list(LETTERS)}, "Another strategy than the advised one.")),
    ),
    Operation(
        "list_templates",
        "GET",
        "/api/v1/drafts/templates",
        TAG,
        "List templates",
        "The templates of drafts, by strategy.",
        {200: Reply("The templates", drafts.DraftTemplates, {"templates": [TEMPLATE]})},
        (*KEY, "invalid_parameter", STORE),
    ),
    Operation(
        "show_template",
        "GET",
        "/api/v1/drafts/templates/{strategy}",
        TAG,
        "Show a template",
        "The template for the drafts of a strategy: Jinja2 with facts, filters and `if`. A sentence with an unknown "
        "fact is left out.",
        {200: Reply("The template", drafts.DraftTemplate, TEMPLATE)},
        (*KEY, "invalid_parameter", "not_found", STORE),
        (STRATEGY_PATH,),
    ),
    Operation(
        "put_template",
        "PUT",
        "/api/v1/drafts/templates/{strategy}",
        TAG,
        "Replace a template",
        "The account's own template, in place of ours. With null for both parts, ours holds again.",
        {200: Reply("The template that holds now", drafts.DraftTemplate, TEMPLATE)},
        (*KEY, "invalid_parameter", *UNREADABLE, "not_found", drafts.INVALID, STORE),
        (STRATEGY_PATH,),
        body=RequestBody((drafts.NewTemplate,), {"A template": NEW_TEMPLATE}),
    ),
    Operation(
        "list_handlings",
        "GET",
        "/api/v1/customers/{email}/handlings",
        TAG,
        "List handlings",
        "The actions that people took for this customer, newest first; the latest 100.",
        {200: Reply("The handlings", handlings.Handlings, {"handlings": [HANDLING]})},
        (*KEY, "invalid_parameter", *STRANGER, STORE),
        (EMAIL,),
    ),
    Operation(
        "add_handling",
        "POST",
        "/api/v1/customers/{email}/handlings",
        TAG,
        "Note a handling",
        "The customer was contacted, is snoozed, or gets a note. A snoozed customer leaves the list *Who to talk to "
        "first* until `until` (14 days by default), a contacted one for a week; a rise of the level ends both.",
        {201: Reply("It is noted", handlings.Handling, HANDLING)},
        (*KEY, "invalid_parameter", *UNREADABLE, *STRANGER, handlings.INVALID, STORE),
        (EMAIL,),
        body=RequestBody(
            (handlings.NewHandling,),
            {
                "Contacted": {"what": "contacted", "who": "Ann"},
                "Snoozed": {"what": "snoozed"},
                "Noted": {"what": "noted", "text": "On holiday until May"},
            },
        ),
    ),
)
