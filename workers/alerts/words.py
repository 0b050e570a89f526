"""What customers said and what failed for them: facts that a rollup doesn't hold, read when somebody needs them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from scoring.advice import Advice
from scoring.drafts.facts import LONGEST
from scoring.events import RECOGNISED
from workers.store import Connection, sql

WORDS: Final = {  # event → the property that holds somebody's words
    "support_ticket_opened": "subject",
    "refund_requested": "reason",
    "nps_response": "comment",
}
DAYS: Final = 90
FAILURE_DAYS: Final = 30
MOST_SUBJECTS: Final = 3

Said = tuple[str, str, str | None]  # customer, event, text; newest first
Failed = tuple[str, str, datetime]


def said_parameters(customer_ids: Sequence[str]) -> dict[str, Any]:
    """Of the query find_words."""
    return {"customer_ids": list(customer_ids), "days": DAYS, "events": list(WORDS), "words": list(WORDS.values())}


def failed_parameters(customer_ids: Sequence[str]) -> dict[str, Any]:
    """Of the query find_failures."""
    return {"customer_ids": list(customer_ids), "days": FAILURE_DAYS, "recognised": list(RECOGNISED)}


def add_words(connection: Connection, advice: dict[str, Advice]) -> dict[str, Advice]:
    """Advice by customer, with what each of them said and what failed among the facts."""
    ids = list(advice)
    said = connection.execute(sql("find_words"), said_parameters(ids)).fetchall()
    failed = connection.execute(sql("find_failures"), failed_parameters(ids)).fetchall()
    return {customer_id: with_words(advice[customer_id], customer_id, said, failed) for customer_id in ids}


def with_words(advice: Advice, customer_id: str, said: Sequence[Any], failed: Sequence[Any]) -> Advice:
    """The advice with the words of this customer among its facts; `said` and `failed` may be about others, too."""
    facts = dict(advice.facts)
    by_event: dict[str, list[str | None]] = {event: [] for event in WORDS}
    for whose, event, text in said:
        if whose == customer_id:
            by_event[event].append(_short(text))
    subjects = [text for text in by_event["support_ticket_opened"][: facts.get("open_tickets", 0)] if text]
    if subjects:
        facts["ticket_subjects"] = list(dict.fromkeys(subjects))[:MOST_SUBJECTS]
    for event, name in (("refund_requested", "refund_reason"), ("nps_response", "nps_comment")):
        if latest := next(iter(by_event[event]), None):
            facts[name] = latest
    for whose, event, last_at in failed:
        if whose == customer_id:
            facts |= {"last_failure": _short(event), "last_failure_at": f"{last_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    return msgspec.structs.replace(advice, facts=facts)


def _short(text: str | None) -> str | None:
    line = " ".join((text or "").split())
    return (line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…") or None
