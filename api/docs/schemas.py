"""Types of requests and answers that no code decodes: only the API's description needs them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from api.track.answers import Rejected
from api.track.rules import CONTROL, EMAIL, EVENT_ID
from scoring.events import MAX_BATCH, MAX_EMAIL, MAX_EVENT_ID, MAX_EVENT_NAME, MAX_PROPERTIES_KEYS, MAX_USER_ID

_CONTROL = CONTROL.pattern.strip("[]")
NAME = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"


class Event(Struct):
    """Something that a customer did. Fields other than these are ignored."""

    event: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_EVENT_NAME,
            pattern=NAME,
            description="The event's name: one that is recognised, or your own. Case is kept; not blank, no control "
            "characters.",
            examples=["feature_used"],
        ),
    ]
    customer_email: Annotated[
        Annotated[str, Meta(min_length=5, max_length=MAX_EMAIL, pattern=rf"^\s*{EMAIL.pattern}\s*$")] | None,
        Meta(
            description="Whose event it is. Trimmed and lower-cased; internationalised domains are allowed. Required "
            "unless there is a `user_id`.",
            examples=["jane@example.com"],
        ),
    ] = None
    user_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID, pattern=NAME)] | None,
        Meta(
            description="Your own id of the customer, in place of the address. An event of a user id whose address is "
            "not known yet waits for 35 days, and is stored when `identify` says it.",
            examples=["user-1042"],
        ),
    ] = None
    properties: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Anything else worth knowing: at most 32 KiB as JSON, 255 keys an object, 10 levels, no NUL "
            "character. `feature`, `plan`, `duration_seconds` and `page` improve the prediction; `invoice_id` says "
            "which invoice is overdue or paid.",
            examples=[{"feature": "exports", "plan": "pro"}],
            extra_json_schema={"maxProperties": MAX_PROPERTIES_KEYS},
        ),
    ] = None
    timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="When it happened: ISO 8601 in any of its forms, UTC unless it has an offset, from 2000 to 1 "
            "hour ahead. Default: the time of receipt.",
            examples=["2025-12-01T10:00:00Z"],
        ),
    ] = None
    event_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID, pattern=rf"^{EVENT_ID.pattern}$")] | None,
        Meta(
            description="Your own id of the event, for safe retries: the same id of a customer is stored once.",
            examples=["order-1042"],
        ),
    ] = None


class Batch(Struct):
    """Several events in one request. Those that are valid are taken, whatever the others are."""

    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_BATCH)]


class Tracked(Struct):
    """Everything in the request is in the buffer."""

    status: Literal["ok"]


class Error(Struct):
    """A refusal. `code` is stable; `message` says what is wrong and what to do."""

    status: Literal["error"]
    code: str
    message: str


class InvalidEvent(Error):
    """A refusal of everything in the request, event by event."""

    rejected: Annotated[list[Rejected], Meta(min_length=1)]
