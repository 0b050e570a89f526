"""The routes of acting on a risk, by address."""

from starlette.routing import Route

from api.alerts import alerts, drafts, effect, handlings, webhooks
from api.reading.etags import validated

ROUTES = (
    Route("/api/v1/webhooks", validated(webhooks.list_or_create), methods=["GET", "POST"]),
    Route("/api/v1/webhooks/{webhook_id}", webhooks.change_or_remove, methods=["PATCH", "DELETE"]),
    Route("/api/v1/webhooks/{webhook_id}/test", webhooks.try_webhook, methods=["POST"]),
    Route("/api/v1/alerts", validated(alerts.list_alerts), methods=["GET"]),
    Route("/api/v1/alerts/effect", validated(effect.show_effect), methods=["GET"]),
    Route("/api/v1/alerts/{alert_id}/redeliver", alerts.redeliver, methods=["POST"]),
    Route("/api/v1/drafts/templates", validated(drafts.list_templates), methods=["GET"]),
    Route("/api/v1/drafts/templates/{strategy}", validated(drafts.show_or_put_template), methods=["GET", "PUT"]),
)

OF_A_CUSTOMER = (  # before the route of the customer, whose address may hold slashes
    Route("/api/v1/customers/{email:path}/draft", validated(drafts.show_draft), methods=["GET"]),
    Route("/api/v1/customers/{email:path}/handlings", validated(handlings.list_or_add), methods=["GET", "POST"]),
)
