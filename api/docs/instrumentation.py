"""The routes that understand an existing instrumentation, as the document of the API describes them."""

from api.docs.openapi import Body, Operation, Reply
from api.reading import mappings

KEY = ("missing_api_key", "invalid_api_key", "buffer_unavailable", "key_not_allowed")
STORE = "store_unavailable"
UNREADABLE = ("malformed_json", "payload_too_large", "body_timeout")

MAPPINGS = {
    "mappings": {"Signed In": "login", "account.closed": "churn"},
    "proposals": [
        {"event": "document.created", "stands_for": "engagement", "likely": True, "count": 900, "customers": 100}
    ],
}
NEW_MAPPINGS = {"mappings": {"Signed In": "login", "document.created": "engagement"}, "force": True}

OPERATIONS = (
    Operation(
        "show_mappings",
        "GET",
        "/api/v1/mappings",
        "Events",
        "Show what names stand for",
        "What each of the account's own names stands for: one of the recognised events, `engagement` (it counts as use "
        "of the product) or `churn` (the customer has left). `proposals` are names that probably mean something.",
        {200: Reply("The mappings", mappings.Mappings, MAPPINGS)},
        (*KEY, STORE),
    ),
    Operation(
        "put_mappings",
        "PUT",
        "/api/v1/mappings",
        "Events",
        "Say what names stand for",
        "Replaces all mappings. They hold for the past as well: nothing that is stored changes, and every risk is "
        "computed anew within a minute. A name that was never sent is refused unless `force` is true.",
        {200: Reply("The mappings that hold now", mappings.Mappings, MAPPINGS)},
        (*KEY, *UNREADABLE, "invalid_mapping", STORE),
        body=Body((mappings.NewMappings,), {"Two names": NEW_MAPPINGS}),
    ),
)
