"""The routes that understand an existing instrumentation, as the document of the API describes them."""

from typing import Annotated, Any

from msgspec import Meta

from api.docs import schemas
from api.docs.openapi import Operation, Parameter, Reply, RequestBody
from api.doors import stripe
from api.identities import identify, merging
from api.reading import mappings
from api.track import answers

KEY = ("missing_api_key", "invalid_api_key", "buffer_unavailable", "key_not_allowed")
STORE = "store_unavailable"
UNREADABLE = ("malformed_json", "payload_too_large", "body_timeout", "overloaded")

MAPPINGS = {
    "mappings": {"Signed In": "login", "account.closed": "churn"},
    "proposals": [
        {"event": "document.created", "stands_for": "engagement", "likely": True, "count": 900, "customers": 100}
    ],
}
NEW_MAPPINGS = {"mappings": {"Signed In": "login", "document.created": "engagement"}, "force": True}

IDENTITY = {
    "user_id": "user-1042",
    "customer_email": "jane@example.com",
    "traits": {"name": "Jane", "plan": "pro", "mrr": 4900, "currency": "EUR", "company": "Example Ltd"},
}
REJECTED = {
    "index": 1,
    "field": "customer_email",
    "code": "customer_email_invalid",
    "message": "`customer_email` must be an address like local@domain.tld of at most 254 characters.",
}
EMAIL = Parameter(
    "email", {"type": "string", "minLength": 1}, "The customer's e-mail address.", "jane@example.com", "path"
)

STRIPE_SOURCE = {
    "token": "q1w2e3r4t5y6u7i8o9p0",
    "path": "/api/v1/webhooks/stripe/q1w2e3r4t5y6u7i8o9p0",
    "created_at": "2025-12-01T10:00:00Z",
    "last_event_at": None,
}
TOKEN = Parameter("token", {"type": "string", "minLength": 1}, "The address's own part.", "q1w2e3r4t5", "path")
EITHER = {"anyOf": [{"required": ["user_id"]}, {"required": ["customer_email"]}]}
ONE_IDENTITY: Any = Annotated[identify.NewIdentity, Meta(extra_json_schema=EITHER)]

OPERATIONS = (
    Operation(
        "identify",
        "POST",
        "/api/v1/identify",
        "Events",
        "Identify a customer",
        "Sets the address of a user id, and traits of a customer: one identity, or 1 to 100 as `identities`. Events "
        "of a user id wait for its address for 35 days, so the order makes no difference. A new address moves the "
        "customer with all history; if both addresses have events, nothing is moved until they are merged.",
        {
            200: Reply("All of it is in the buffer", schemas.Tracked, {"status": "ok"}),
            207: Reply(
                "Some identities are invalid; the others are in the buffer",
                answers.Partial,
                {"status": "partial", "accepted": 2, "rejected": [REJECTED]},
            ),
        },
        (*KEY, *UNREADABLE, "batch_too_large", "invalid_identity", "rate_limited", "buffer_full"),
        body=RequestBody(
            (ONE_IDENTITY, identify.NewIdentities),
            {"One identity": IDENTITY, "A batch": {"identities": [IDENTITY, {"user_id": "user-7", "traits": {}}]}},
            not_both=("user_id", "identities"),
        ),
    ),
    Operation(
        "merge_customer",
        "POST",
        "/api/v1/customers/{email}/merge",
        "Customers",
        "Merge two customers",
        "The events (each once), traits and user ids of this customer move to `into`. Later events under the old "
        "address are stored under the new one. It may be repeated.",
        {200: Reply("They are one", merging.MergedCustomer, {"email": "jane@example.com", "events": 1042})},
        (*KEY, "customer_not_found", "not_found", *UNREADABLE, "invalid_merge", STORE),
        (EMAIL,),
        body=RequestBody((merging.MergeInto,), {"Into another": {"into": "jane@example.org"}}),
    ),
    Operation(
        "list_stripe_sources",
        "GET",
        "/api/v1/webhooks/stripe",
        "Events",
        "List the addresses for Stripe's webhooks",
        "The addresses to which Stripe sends its events, each with the time of its last event.",
        {200: Reply("The addresses", stripe.StripeSources, {"sources": [STRIPE_SOURCE]})},
        (*KEY, "invalid_parameter", STORE),
    ),
    Operation(
        "add_stripe_source",
        "POST",
        "/api/v1/webhooks/stripe",
        "Events",
        "Make an address for Stripe's webhooks",
        "Takes the signing secret of an endpoint in Stripe's dashboard, and gives the address to enter there. "
        "Invoices, subscriptions and refunds become events; `customer.*` events say whose they are.",
        {201: Reply("The address", stripe.MadeStripeSource, {name: STRIPE_SOURCE[name] for name in ("token", "path")})},
        (*KEY, *UNREADABLE, "invalid_webhook", "invalid_parameter", STORE),
        body=RequestBody((stripe.NewStripeSource,), {"A secret": {"secret": "whsec_1234567890"}}),
    ),
    Operation(
        "take_stripe_event",
        "POST",
        "/api/v1/webhooks/stripe/{token}",
        "Events",
        "Receive an event from Stripe",
        "Called by Stripe, with its header `Stripe-Signature`. The same event sent again is stored once.",
        {200: Reply("It is in the buffer, or says nothing that is needed here", schemas.Tracked, {"status": "ok"})},
        ("invalid_signature", "not_found", *UNREADABLE, "buffer_unavailable", "buffer_full", STORE),
        (TOKEN,),
        key=False,
    ),
    Operation(
        "remove_stripe_source",
        "DELETE",
        "/api/v1/webhooks/stripe/{token}",
        "Events",
        "Remove an address for Stripe's webhooks",
        "Later events to this address are refused.",
        {204: Reply("It is removed", None, None)},
        (*KEY, "not_found", STORE),
        (TOKEN,),
    ),
    Operation(
        "show_mappings",
        "GET",
        "/api/v1/mappings",
        "Events",
        "Show the roles of events",
        "The role of each of the account's own events: one of the recognised events, `engagement` (it counts as use of "
        "the product) or `churn` (the customer has left). `proposals` are roles for the other names.",
        {200: Reply("The mappings", mappings.Mappings, MAPPINGS)},
        (*KEY, "invalid_parameter", STORE),
    ),
    Operation(
        "put_mappings",
        "PUT",
        "/api/v1/mappings",
        "Events",
        "Set the roles of events",
        "Replaces all roles. They apply to the past as well: stored events stay, and every risk is computed anew "
        "within a minute. A name that was never sent is refused unless `force` is true.",
        {200: Reply("The mappings that hold now", mappings.Mappings, MAPPINGS)},
        (*KEY, *UNREADABLE, "invalid_mapping", "invalid_parameter", STORE),
        body=RequestBody((mappings.NewMappings,), {"Two names": NEW_MAPPINGS}),
    ),
)
