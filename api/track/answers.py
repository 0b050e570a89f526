"""The answers of the track route besides ok, in JSON."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

EventCode = Literal[
    "event_invalid",
    "customer_email_invalid",
    "user_id_invalid",
    "properties_invalid",
    "timestamp_invalid",
    "event_id_invalid",
    "events_invalid",
    "traits_invalid",
]


class Rejected(Struct):
    """Why an event of a request was not taken."""

    index: Annotated[int, Meta(ge=0, description="Which event of the request, from 0.")]
    field: Annotated[str, Meta(description="The field that is wrong.")]
    code: EventCode
    message: Annotated[str, Meta(description="What is wrong, the limit, and what to do.")]


class Partial(Struct):
    """Some events of a batch are invalid; the others are in the buffer."""

    status: Literal["partial"]
    accepted: Annotated[int, Meta(ge=1)]
    rejected: Annotated[Sequence[Rejected], Meta(min_length=1)]
