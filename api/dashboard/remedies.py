"""Problems to fix, from the warnings: how often, an example, and what to do."""

from typing import Final, NamedTuple

from starlette.requests import Request

from api.errors import Refused
from api.reading.warnings import read_warnings
from workers.warnings import ProducerWarning

EXAMPLES: Final = 3


class Remedy(NamedTuple):
    """The title of a problem, and how to fix it."""

    title: str
    advice: str


REFUSED: Final = "Not stored: "
REMEDIES: Final = {
    "event_invalid": Remedy(
        REFUSED + "events without a valid name",
        "Send `event` as text of 1 to 200 characters, without control characters.",
    ),
    "customer_email_invalid": Remedy(
        REFUSED + "events without a valid e-mail address",
        "Send the customer's address in `customer_email`. Don't send events of visitors who aren't signed in.",
    ),
    "user_id_invalid": Remedy(
        REFUSED + "events without a usable user id",
        "Send `user_id` as text of 1 to 200 characters, or the customer's address in `customer_email`.",
    ),
    "address_in_use": Remedy(
        "An address that two customers have",
        "If they are one person, merge them: `POST /api/v1/customers/{email}/merge`.",
    ),
    "traits_invalid": Remedy(
        "Traits that can't be read",
        "Send `mrr` as a whole number in minor units (cents), `currency` as three letters, the others as text.",
    ),
    "properties_invalid": Remedy(
        REFUSED + "events with invalid properties",
        "Send `properties` as an object of at most 32 KiB, 255 keys and 10 levels. Leave out data that nobody reads.",
    ),
    "timestamp_invalid": Remedy(
        REFUSED + "events with an invalid time",
        "Send `timestamp` as ISO 8601 text, like 2026-01-31T09:00:00Z, not as a number. "
        "Check that the sender's clock isn't ahead.",
    ),
    "event_id_invalid": Remedy(
        REFUSED + "events with an invalid id", "Send `event_id` as 1 to 64 of A-Z a-z 0-9 . _ : - or leave it out."
    ),
    "events_invalid": Remedy(
        REFUSED + "invalid batches", "Send `events` as a list of 1 to 100 events, without an `event` beside it."
    ),
    "malformed_json": Remedy(REFUSED + "bodies that are not JSON", "Write the body with a JSON library, in UTF-8."),
    "malformed_gzip": Remedy(
        REFUSED + "bodies that can't be decompressed", "Send `Content-Encoding: gzip` only with a gzip body."
    ),
    "payload_too_large": Remedy(REFUSED + "requests over 4 MiB", "Send smaller batches."),
    "batch_too_large": Remedy(REFUSED + "batches of over 100 events", "Split them: at most 100 events a request."),
    "unsupported_encoding": Remedy(REFUSED + "bodies in an unknown encoding", "Compress with gzip, or not at all."),
    "rate_limited": Remedy(
        REFUSED + "more events than the key's limit",
        "Send batches and wait as Retry-After says, or give the key a higher limit.",
    ),
    "body_timeout": Remedy(
        REFUSED + "bodies that did not arrive in time", "Check the network between the sender and this service."
    ),
    "buffer_full": Remedy(
        REFUSED + "the buffer was full",
        "Send again as Retry-After says. More `ingest` workers help.",
    ),
    "overloaded": Remedy(
        REFUSED + "too many large bodies at once", "Send again as Retry-After says, and smaller batches."
    ),
    "buffer_unavailable": Remedy(
        REFUSED + "the buffer was unavailable", "Send again as Retry-After says. Check that Redis runs."
    ),
    "secret_key_in_browser": Remedy(
        "A secret key is used in a browser, where everybody can read it",
        "Revoke it under Keys, and use a publishable key (pk_live_…) on that site.",
    ),
    "invalid_signature": Remedy(
        REFUSED + "a signature that does not match", "Give Windback the signing secret that the sender shows now."
    ),
    "unknown_field": Remedy("Unknown fields, ignored", "Correct the spelling, or put your own data into `properties`."),
    "near_duplicate_name": Remedy(
        "Two names for the same event?",
        "Use one spelling. Each spelling is counted apart, and only the standard one counts for the risk.",
    ),
    "personal_data": Remedy(
        "Properties that look like personal data",
        "Leave out card numbers, passwords and addresses. Every secret key can read them.",
    ),
}


class Problem(NamedTuple):
    """A kind of warning within 7 days, with its latest distinct examples."""

    code: str
    remedy: Remedy
    times: int
    examples: list[ProducerWarning]


def is_refusal(code: str) -> bool:
    """True if a warning of this code means that an event or a request was refused."""
    return code in REMEDIES and REMEDIES[code].title.startswith(REFUSED)


async def find_problems(request: Request, account_id: int) -> list[Problem] | None:
    """The most frequent first; None if they can't be read now."""
    try:
        warnings = await read_warnings(request, account_id)
    except Refused:
        return None
    return [
        Problem(code, REMEDIES.get(code, Remedy(code, "")), count, _find_examples(warnings.warnings, code))
        for code, count in warnings.counts.items()
    ]


def _find_examples(warnings: list[ProducerWarning], code: str) -> list[ProducerWarning]:
    different = {(warning.message, warning.event): warning for warning in reversed(warnings) if warning.code == code}
    return list(different.values())[: -EXAMPLES - 1 : -1]
