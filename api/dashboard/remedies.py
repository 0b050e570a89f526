"""Warnings by what has to be mended: how often, an example, and what to do."""

from typing import Final, NamedTuple

from starlette.requests import Request

from api.errors import Refused
from api.reading.warnings import read_warnings
from workers.warnings import ProducerWarning

EXAMPLES: Final = 3


class Remedy(NamedTuple):
    """What is wrong, and what a producer does about it."""

    title: str
    advice: str


REFUSED: Final = "Not stored: "
REMEDIES: Final = {
    "event_invalid": Remedy(
        REFUSED + "events without a usable name",
        "Send `event` as text of 1 to 200 characters, without control characters.",
    ),
    "customer_email_invalid": Remedy(
        REFUSED + "events without a usable address",
        "Send the customer's address in `customer_email`; events of who isn't signed in belong elsewhere.",
    ),
    "properties_invalid": Remedy(
        REFUSED + "events with unusable properties",
        "Send `properties` as an object of at most 32 KiB, 255 keys and 10 levels; leave out what nobody reads.",
    ),
    "timestamp_invalid": Remedy(
        REFUSED + "events with an unusable time",
        "Send `timestamp` in ISO 8601, like 2026-01-31T09:00:00Z, no number; see whether the clock there is ahead.",
    ),
    "event_id_invalid": Remedy(
        REFUSED + "events with an unusable id", "Send `event_id` as 1 to 64 of A-Z a-z 0-9 . _ : - or leave it out."
    ),
    "events_invalid": Remedy(
        REFUSED + "unusable batches", "Send `events` as a list of 1 to 100 events, and no `event` beside it."
    ),
    "malformed_json": Remedy(REFUSED + "bodies that are no JSON", "Write the body with a JSON library, in UTF-8."),
    "malformed_gzip": Remedy(
        REFUSED + "bodies that can't be decompressed", "Send `Content-Encoding: gzip` only with gzip."
    ),
    "payload_too_large": Remedy(REFUSED + "requests over 4 MiB", "Send smaller batches."),
    "batch_too_large": Remedy(REFUSED + "batches of over 100 events", "Split them: at most 100 events a request."),
    "unsupported_encoding": Remedy(REFUSED + "bodies of an unknown encoding", "Compress with gzip, or not at all."),
    "rate_limited": Remedy(
        REFUSED + "more than a key may send", "Send batches and heed Retry-After, or give the key a higher limit."
    ),
    "body_timeout": Remedy(
        REFUSED + "bodies that did not arrive in time", "See how the producer reaches this service."
    ),
    "buffer_full": Remedy(
        REFUSED + "the buffer was full", "Producers should heed Retry-After; more ingest workers empty it faster."
    ),
    "buffer_unavailable": Remedy(
        REFUSED + "the buffer was away", "Producers should send it again; see whether Redis runs."
    ),
    "unknown_field": Remedy(
        "Ignored: fields that nobody reads", "Mend the spelling, or put data of your own into `properties`."
    ),
    "near_duplicate_name": Remedy(
        "Two names for the same event?",
        "Agree on one spelling: names are counted apart, and only the recognised spelling counts for the risk.",
    ),
    "personal_data": Remedy(
        "Properties that look like personal data",
        "Leave out card numbers, passwords and addresses: nothing here needs them, and every secret key can read them.",
    ),
}


class Trouble(NamedTuple):
    """A kind of warning within 7 days; examples are the latest, each said once."""

    code: str
    remedy: Remedy
    times: int
    examples: list[ProducerWarning]


async def troubles(request: Request, account_id: int) -> list[Trouble] | None:
    """The most frequent first; None where they can't be read now."""
    try:
        found = await read_warnings(request, account_id)
    except Refused:
        return None
    return [
        Trouble(code, REMEDIES.get(code, Remedy(code, "")), count, _examples(found.warnings, code))
        for code, count in found.counts.items()
    ]


def _examples(warnings: list[ProducerWarning], code: str) -> list[ProducerWarning]:
    different = {(one.message, one.event): one for one in reversed(warnings) if one.code == code}
    return list(different.values())[: -EXAMPLES - 1 : -1]
