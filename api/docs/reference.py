"""The reference of the API: one entry a route. The document at /openapi.json and the page at /docs come from this
table."""

from collections.abc import Sequence

from api.docs import acting, examples, instrumentation, schemas
from api.docs.openapi import Operation, Parameter, Reference, Reply, RequestBody
from api.health import health
from api.reading import analytics, customer, customers, erasing, levels, model, series, track_record
from api.reading.customer_filter import ORDERS, STATES
from api.reading.intervals import INTERVALS, MOST
from api.reading.query import DEFAULT_LIMIT, HIGHEST_LIMIT
from api.track import answers
from scoring.learning.departures import MOST_BEFORE
from scoring.learning.track_record import LONGEST_DAYS
from scoring.levels import NAMES
from workers import warnings

DESCRIPTION = (
    "Send your customers' events, and read the risk of churn of each customer. A secret key (`sk_live_…`) does "
    "everything in its account; a publishable one (`pk_live_…`, for browsers) may only track. Every error looks like "
    '`{"status": "error", "code": …, "message": …}`: `code` is stable, `message` is for people. Times are RFC 3339 in '
    "UTC; unknown facts are `null`. Answers to reads carry an `ETag`. Send it back as `If-None-Match`: while nothing "
    "has changed, the answer is 304."
)
TAGS = {
    "Events": "Tell Windback what your customers do, and see what it could not use.",
    "Customers": "Who is likely to leave, why, and what to do about it. These routes need a secret key.",
    "Analytics": "Your events, their effect on the risk, and the quality of the risk. These routes need a secret key.",
    "Acting": "Alerts, drafts of e-mails, and the effect of both. These routes need a secret key.",
    "Operating": "Is it alive, and how is it? These routes need no key.",
}
ANYWHERE = ("not_found", "method_not_allowed", "malformed_http", "headers_too_large")

KEY = ("missing_api_key", "invalid_api_key", "buffer_unavailable")
SECRET_KEY = (*KEY, "key_not_allowed")
STORE = "store_unavailable"
PARAMETER = "invalid_parameter"
STRANGER = ("customer_not_found", "not_found")  # the latter for addresses with line breaks


def _limit(default: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": HIGHEST_LIMIT, "default": default}
    return Parameter("limit", schema, "How many rows a page has.")


def _days(name: str, default: int, most: int, description: str) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter(name, schema, description)


def _moment(name: str, description: str) -> Parameter:
    return Parameter(name, {"type": "string", "format": "date-time"}, description, "2025-12-01T00:00:00Z")


def _range(what: str) -> tuple[Parameter, Parameter]:
    return (
        _moment("from", f"The first {what} is the one that holds this time."),
        _moment("to", f"The last {what} is the one that holds this time; not before `from`."),
    )


def _several(name: str, values: Sequence[str], description: str) -> Parameter:
    word = "|".join(values)
    schema = {"type": "string", "pattern": f"^({word})(,({word}))*$"}
    return Parameter(name, schema, f"{description} One or several of {', '.join(values)}, by commas.", values[-1])


def _interval(description: str) -> Parameter:
    return Parameter("interval", {"enum": list(INTERVALS), "default": "day"}, description)


EMAIL = Parameter(
    "email", {"type": "string", "minLength": 1}, "The customer's e-mail address.", "jane@example.com", "path"
)
CURSOR = Parameter(
    "cursor",
    {"type": "string", "format": "cursor", "pattern": "^[A-Za-z0-9_-]*$"},
    "The `next_cursor` of the page before this one. Keep all other parameters as they were.",
)

OPERATIONS = (
    Operation(
        "track",
        "POST",
        "/api/v1/track",
        "Events",
        "Track events",
        "Takes one event, or 1 to 100 as `events`, with either kind of key. `ok` means that everything is in the "
        "buffer. The same event sent again is stored once: the same `event_id` of a customer, or else, where a "
        "timestamp was sent, the same customer, name, instant and properties. Bodies may be gzip (`Content-Encoding`); "
        "any `Content-Type` is read as JSON. Browsers may call from any origin.",
        {
            200: Reply("Everything is in the buffer", schemas.Tracked, {"status": "ok"}),
            207: Reply("Some events are invalid; the others are in the buffer", answers.Partial, examples.PARTIAL),
        },
        (
            "malformed_json",
            "malformed_gzip",
            *KEY,
            "body_timeout",
            "payload_too_large",
            "batch_too_large",
            "unsupported_encoding",
            "invalid_event",
            "rate_limited",
            "buffer_full",
            "overloaded",
        ),
        body=RequestBody(
            (schemas.Event, schemas.Batch),
            {"One event": examples.EVENT, "A batch": examples.BATCH},
            not_both=("event", "events"),
        ),
    ),
    Operation(
        "list_warnings",
        "GET",
        "/api/v1/warnings",
        "Events",
        "List warnings",
        "Problems to fix: the number of refused events and ignored fields within 7 days, by code, and the latest 100. "
        "Needs a secret key.",
        {200: Reply("The warnings", warnings.AccountWarnings, examples.WARNINGS)},
        SECRET_KEY,
    ),
    *instrumentation.OPERATIONS,
    *acting.OPERATIONS,
    Operation(
        "list_customers",
        "GET",
        "/api/v1/customers",
        "Customers",
        "List customers",
        "Customers with their risk, page by page. To read all of them while events arrive, sort by `email`: in other "
        "orders, a customer who moves between two pages is missed or comes twice.",
        {200: Reply("A page of customers", customers.Customers, examples.CUSTOMERS)},
        (*SECRET_KEY, PARAMETER, STORE),
        (
            Parameter(
                "sort",
                {"enum": list(ORDERS), "default": "-risk"},
                "The order; `-` for descending. `urgency` is whom to talk to first: risk, times half plus its rise in "
                "14 days, times log10(10 + monthly value); 0 for lapsed customers.",
            ),
            _several("level", NAMES, "Only customers at one of these levels of risk."),
            _several("state", STATES, "Only customers in one of these states."),
            Parameter("plan", {"type": "string"}, "Only customers on this plan.", "pro"),
            Parameter("company", {"type": "string"}, "Only customers of this company.", "Example Ltd"),
            Parameter("currency", {"type": "string"}, "Only customers who pay in this currency.", "EUR"),
            Parameter("email", {"type": "string"}, "Only customers whose e-mail address begins so.", "jane@"),
            Parameter("search", {"type": "string"}, "Only customers whose e-mail address contains this.", "@acme.com"),
            Parameter(
                "risen",
                {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.125},
                "Only customers who haven't lapsed, and whose score rose by at least so many points since `since`.",
                20,
            ),
            Parameter(
                "since",
                {"type": "string", "pattern": "^[1-9][0-9]{0,2}[hdw]$"},
                "How long ago, like `24h`, `7d` or `2w`, or a time in ISO 8601. The default is 14 days ago.",
                "7d",
            ),
            _several("include", customers.INCLUDES, "Also gives the advice for each customer."),
            _limit(DEFAULT_LIMIT),
            CURSOR,
        ),
    ),
    Operation(
        "show_customer",
        "GET",
        "/api/v1/customers/{email}",
        "Customers",
        "Show a customer",
        "Everything that is known of a customer: the risk and its reasons, counts by event, open matters, advice. "
        "`risk` and `advice` are `null` until the first score, a moment after the first event.",
        {200: Reply("The customer", customer.Customer, examples.CUSTOMER)},
        (*SECRET_KEY, *STRANGER, STORE),
        (EMAIL,),
    ),
    Operation(
        "erase_customer",
        "DELETE",
        "/api/v1/customers/{email}",
        "Customers",
        "Erase a customer",
        "Everything that was received of this customer until now goes: events, scores, dead letters, also what still "
        "waits to be stored. The address is kept nowhere; a receipt stays. Safe to repeat, and for an unknown address "
        "as well. Events that are sent afterwards begin a new history.",
        {202: Reply("It is erased; what waits in the buffer is dropped on its way", erasing.Erased, examples.ERASED)},
        (*SECRET_KEY, *STRANGER, STORE),
        (EMAIL,),
    ),
    Operation(
        "list_events",
        "GET",
        "/api/v1/customers/{email}/events",
        "Customers",
        "List a customer's events",
        "What the customer did, newest first.",
        {200: Reply("A page of events", customer.Timeline, examples.TIMELINE)},
        (*SECRET_KEY, *STRANGER, PARAMETER, STORE),
        (EMAIL, _limit(100), CURSOR),
    ),
    Operation(
        "list_risk",
        "GET",
        "/api/v1/customers/{email}/risk",
        "Customers",
        "Show a risk over time",
        "The customer's risk over time, oldest first.",
        {200: Reply("The risk over time", customer.RiskHistory, examples.RISK_HISTORY)},
        (*SECRET_KEY, *STRANGER, PARAMETER, STORE),
        (
            EMAIL,
            _moment("from", "The first risk is the one in force at this time."),
            _moment("to", "Not after this time."),
        ),
    ),
    Operation(
        "count_events",
        "GET",
        "/api/v1/analytics/events",
        "Analytics",
        "Count events by name",
        "The account's events, the most frequent first: their number, their customers, and their effect on the risk. "
        "`model` has the state of a custom event: it is tested once the outcome is known for 50 customers who sent it, "
        "10 of whom left, and enters the model if it improves the prediction. The range is all time, or the whole "
        "days, weeks (from Monday) or months, in UTC, from the one that holds `from` to the one that holds `to`.",
        {200: Reply("The events", analytics.CountedEvents, examples.COUNTED_EVENTS)},
        (*SECRET_KEY, PARAMETER, STORE),
        (*_range("interval"), _interval("What `from` and `to` are widened to; hours count as days.")),
    ),
    Operation(
        "show_event",
        "GET",
        "/api/v1/analytics/events/{name}",
        "Analytics",
        "Show an event over time",
        "The number of these events, and of their customers, in each hour, day, week (from Monday) or month, in UTC, "
        "from the one that holds `from` to the one that holds `to`. The default is the last 48 hours, 30 days, 13 "
        f"weeks or 12 months; there are at most {MOST}. Also the most common values of its properties in the latest "
        "1,000 events. The name is escaped in the path (`/` may stand as it is).",
        {200: Reply("The event over time", series.Series, examples.SERIES)},
        (*SECRET_KEY, "event_not_found", "not_found", PARAMETER, STORE),
        (
            Parameter("name", {"type": "string", "minLength": 1}, "The event's name.", "feature_used", "path"),
            *_range("interval"),
            _interval("How long the intervals are."),
        ),
    ),
    Operation(
        "show_levels",
        "GET",
        "/api/v1/analytics/risk",
        "Analytics",
        "Count customers by level",
        "The number of customers at each level of risk at the end of each day, in UTC, and now. The default is the "
        "last 30 days. A lapsed customer counts as lapsed only. Days before the first risk are left out.",
        {200: Reply("The customers by level", levels.Levels, examples.LEVELS)},
        (*SECRET_KEY, PARAMETER, STORE),
        _range("day"),
    ),
    Operation(
        "show_model",
        "GET",
        "/api/v1/model",
        "Analytics",
        "Show the model in use",
        "Its weights, its training data, its quality on later months that the training left out (`holdout`, beside "
        "the previous model), and the quality of the scores of a horizon ago (`matured`). Until enough customers have "
        "left, it is the day-one formula.",
        {200: Reply("The model", model.ModelInUse, examples.MODEL)},
        (*SECRET_KEY, STORE),
    ),
    Operation(
        "show_track_record",
        "GET",
        "/api/v1/model/track-record",
        "Analytics",
        "Show the track record",
        "The share of customers who left in the last `days` and had a risk of this level or above so many days "
        "`before`, and the share of customers flagged on a weekly list of that time who left. Every risk is computed "
        "from the events up to its day, by the model that the account would have had. A customer left when a horizon "
        "passed without use. Counts are null where the history is too short; `why` says so.",
        {200: Reply("The track record", track_record.TrackRecord, examples.TRACK_RECORD)},
        (*SECRET_KEY, PARAMETER, STORE),
        (
            _days("days", track_record.DAYS, LONGEST_DAYS, "The number of days to look back."),
            _days("before", track_record.BEFORE, MOST_BEFORE, "How many days before the departure the risk is taken."),
            Parameter(
                "level",
                {"enum": list(track_record.LEVELS), "default": track_record.LEVEL},
                "The level from which a customer counts as flagged.",
            ),
            _limit(track_record.PAGE),
            CURSOR,
        ),
    ),
    Operation(
        "healthz",
        "GET",
        "/healthz",
        "Operating",
        "Is the process alive?",
        "200 while the process runs.",
        {200: Reply("It runs", health.Health, {"status": "ok"})},
        key=False,
    ),
    Operation(
        "readyz",
        "GET",
        "/readyz",
        "Operating",
        "Can events be taken?",
        "200 while events can be taken: Redis takes writes and never evicts, and the process isn't about to end. "
        "Postgres, a buffer that nobody empties, a missing clock and an account whose tracking is out are only "
        "reported.",
        {
            200: Reply("Events can be taken", health.Ready, examples.READY),
            503: Reply("Events can't be taken", health.NotReady, examples.NOT_READY),
        },
        key=False,
    ),
    Operation(
        "metrics",
        "GET",
        "/metrics",
        "Operating",
        "Metrics",
        "What Prometheus reads. The sums are those of all processes.",
        {200: Reply("The metrics", str, examples.METRICS, "text/plain")},
        key=False,
    ),
    Operation(
        "openapi",
        "GET",
        "/openapi.json",
        "Operating",
        "This description",
        "The API in OpenAPI 3.1.",
        {200: Reply("The document", dict, None)},
        key=False,
    ),
)

REFERENCE = Reference(DESCRIPTION, TAGS, OPERATIONS, ANYWHERE, examples.REJECTED)
