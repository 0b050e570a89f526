"""The vocabulary: recognised events, limits, and what the daily rollup keeps of an event.

The functions run once for every event that is stored, so they look only at the few properties they know and
never raise: whatever a producer sends, the worst outcome is an empty detail, a value of 0, no plan.
"""

from typing import Any, Final, Literal
from unicodedata import category

Signal = Literal["positive", "negative", "neutral", "varies"]

RECOGNISED: Final[dict[str, Signal]] = {
    "login": "positive",
    "feature_used": "positive",
    "subscription_renewed": "positive",
    "subscription_upgraded": "positive",
    "subscription_downgraded": "negative",
    "support_ticket_opened": "varies",
    "support_ticket_resolved": "positive",
    "nps_response": "varies",
    "invoice_paid": "positive",
    "invoice_overdue": "negative",
    "refund_requested": "negative",
    "trial_started": "neutral",
    "trial_ended": "neutral",
}
"""The 13 recognised names. `varies`: a ticket is negative while open, an NPS response goes by its score."""

ENGAGEMENT: Final = frozenset({"login", "feature_used"})
SIGNS_OF_LIFE: Final = frozenset({"subscription_renewed", "invoice_paid"})  # until a customer's first engagement
BEGINNINGS: Final = ENGAGEMENT | SIGNS_OF_LIFE | {"trial_started", "trial_ended", "subscription_upgraded"}
PAYMENTS: Final = ("subscription_renewed", "subscription_upgraded", "invoice_paid")
INVOICE: Final = "invoice:"  # begins the detail of an event that names its invoice
FREE_PLANS: Final = frozenset({"free", "freemium", "none", "hobby", "community", "cancelled", "canceled"})
CHURNED: Final = "\x18churned"  # our name for an account's own event that means churn; no event can have it

MAX_EVENT_NAME: Final = 200  # characters
MAX_EMAIL: Final = 254  # characters
MAX_EVENT_ID: Final = 64  # characters
MAX_USER_ID: Final = 200  # characters
MAX_PROPERTIES_BYTES: Final = 32 * 1024  # encoded
MAX_PROPERTIES_KEYS: Final = 255
MAX_PROPERTIES_DEPTH: Final = 10  # levels
MAX_BATCH: Final = 100  # events
MAX_BODY_BYTES: Final = 4 * 1024 * 1024  # after decompression
MAX_DETAIL: Final = 100  # characters
MAX_VALUE: Final = 1e9  # seconds or money; anything more is a unit error
MAX_NUMBER: Final = 24  # characters of a number that is written as text
MAX_DAILY_COUNT: Final = 50  # a name and day: more of them add nothing to a risk

NPS_SCORES: Final = {str(score): score for score in range(11)}
_PLAN_EVENTS: Final = ("subscription_", "trial_")
_INVOICE_EVENTS: Final = ("invoice_paid", "invoice_overdue")
_UNSTORABLE: Final = frozenset({"Cc", "Cs"})  # control characters, and halves of surrogate pairs


def detail_of(event: str, properties: dict[str, Any]) -> str:
    """Returns the part of an event that the rollup keeps apart within its name: NPS score or invoice, else feature,
    page, plan, or score; "" without any.

    At most 100 characters, no control characters. An NPS response without a valid score gives "", an invoice's id
    begins with INVOICE.
    """
    if not properties:
        return ""
    if event == "nps_response":
        return _nps_text(properties.get("score"))
    if event in _INVOICE_EVENTS:
        return _invoice_text(properties)
    return (
        _text(properties.get("feature"))
        or ("" if event in RECOGNISED else _invoice_text(properties))  # it may stand for one
        or _text(properties.get("page"), until="?")
        or (_text(properties.get("plan")) if event.startswith(_PLAN_EVENTS) else "")
        or ("" if event in RECOGNISED else _nps_text(properties.get("score")))  # it may stand for an NPS response
    )


def value_of(event: str, properties: dict[str, Any]) -> float:
    """`duration_seconds`, of a paid invoice its `amount`, as a float of 0 to 1e9; 0 for anything that isn't such a
    number. Text counts if it is one: many serializers write decimals as "49.00"."""
    if not properties:
        return 0.0
    value = properties.get("amount" if event == "invoice_paid" else "duration_seconds")
    if type(value) is str:
        value = _read_number(value)
    if type(value) is not float and type(value) is not int:
        return 0.0
    return float(value) if 0 < value <= MAX_VALUE else 0.0


def plan_of(properties: dict[str, Any]) -> str | None:
    """The plan that the event names, at most 100 characters, or None."""
    return (_text(properties.get("plan")) or None) if properties else None


def _text(value: Any, until: str | None = None) -> str:
    if type(value) is int:
        value = str(value) if abs(value) < 10**18 else ""
    if type(value) is not str or not value:
        return ""
    if until:
        value = value.partition(until)[0]
    if not value.isprintable():
        value = "".join(char if category(char) not in _UNSTORABLE else " " for char in value)
    return str(value.strip()[:MAX_DETAIL].rstrip())


def _invoice_text(properties: dict[str, Any]) -> str:
    value = properties.get("invoice_id")
    if type(value) is float and value.is_integer():
        value = int(value)
    text = _text(value)
    return (INVOICE + text)[:MAX_DETAIL].rstrip() if text else ""


def _read_number(text: str) -> float | None:
    try:
        return float(text) if len(text) <= MAX_NUMBER else None
    except ValueError:
        return None


def _nps_text(score: Any) -> str:
    if type(score) is str:
        score = _read_number(score)
    if type(score) is float and score.is_integer():
        score = int(score)
    return str(score) if type(score) is int and 0 <= score <= 10 else ""
