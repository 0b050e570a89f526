"""The pages, by address."""

from starlette.routing import Route

from api.dashboard import customer, customers, events, keys, model, overview, signing
from api.dashboard.acting import drafts, handlings, webhooks
from api.dashboard.setup import companies, imports, mappings, money, settings, welcome

ROUTES = (
    Route("/", overview.overview, methods=["GET"], include_in_schema=False),
    Route("/customers", customers.list_customers, methods=["GET"], include_in_schema=False),
    Route("/customers.csv", customers.export_customers, methods=["GET"], include_in_schema=False),
    Route("/customers/{email:path}/handlings", handlings.add, methods=["POST"], include_in_schema=False),
    Route("/customers/{email:path}", customer.show_or_erase, methods=["GET", "POST"], include_in_schema=False),
    Route("/erasures/{erasure_id:uuid}", customer.receipt, methods=["GET"], include_in_schema=False),
    Route("/events", events.list_events, methods=["GET"], include_in_schema=False),
    Route("/events/{name:path}", events.show_event, methods=["GET"], include_in_schema=False),
    Route("/companies", companies.list_companies, methods=["GET"], include_in_schema=False),
    Route("/companies/{name:path}", companies.show_company, methods=["GET"], include_in_schema=False),
    Route("/mappings", mappings.list_or_save, methods=["GET", "POST"], include_in_schema=False),
    Route("/money.csv", money.export_money, methods=["GET"], include_in_schema=False),
    Route("/import", imports.list_or_upload, methods=["GET", "POST"], include_in_schema=False),
    Route("/import/{import_id}", imports.show_or_change, methods=["GET", "POST"], include_in_schema=False),
    Route("/model", model.show_model, methods=["GET"], include_in_schema=False),
    Route("/alerts", webhooks.list_or_add, methods=["GET", "POST"], include_in_schema=False),
    Route("/alerts/effect", webhooks.show_effect, methods=["GET"], include_in_schema=False),
    Route("/alerts/webhooks/{webhook_id}", webhooks.change, methods=["POST"], include_in_schema=False),
    Route("/alerts/{alert_id}/redeliver", webhooks.redeliver, methods=["POST"], include_in_schema=False),
    Route("/drafts", drafts.list_templates, methods=["GET"], include_in_schema=False),
    Route("/drafts/{strategy}", drafts.show_or_save, methods=["GET", "POST"], include_in_schema=False),
    Route("/settings", settings.show_or_save, methods=["GET", "POST"], include_in_schema=False),
    Route("/first-event", welcome.first_event, methods=["GET"], include_in_schema=False),
    Route("/keys", keys.list_keys, methods=["GET", "POST"], include_in_schema=False),
    Route("/keys/{key_id:int}/revoke", keys.revoke_key, methods=["GET", "POST"], include_in_schema=False),
    Route("/sign-in", signing.sign_in, methods=["GET", "POST"], include_in_schema=False),
    Route("/sign-out", signing.sign_out, methods=["POST"], include_in_schema=False),
)
