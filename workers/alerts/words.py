"""Customers' own words, and failures that they met: facts that a rollup doesn't hold, read when they are needed."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final, NamedTuple

import msgspec

from scoring.advice import Advice
from scoring.drafts.facts import LONGEST
from scoring.event_roles import PLAIN, Meaning
from scoring.events import RECOGNISED
from workers.store import Connection, sql

WORDS: Final = {  # event → the property with the customer's words
    "support_ticket_opened": "subject",
    "refund_requested": "reason",
    "nps_response": "comment",
}
DAYS: Final = 90
FAILURE_DAYS: Final = 30
MOST_SUBJECTS: Final = 3


class Words(NamedTuple):
    """Rows of the queries: customers' words, newest first (customer, event, text); failures (customer, event, when);
    names (customer, name, company)."""

    quotes: Sequence[Sequence[Any]]
    failures: Sequence[Sequence[Any]]
    names: Sequence[Sequence[Any]]


def word_queries(customer_ids: Sequence[str], meaning: Meaning) -> dict[str, dict[str, Any]]:
    """The queries whose rows are Words, in its order, and their parameters."""
    ids, events = list(customer_ids), [*WORDS, *meaning.names_of(WORDS)]
    words = [WORDS[meaning.of(event)] for event in events]
    understood = [*RECOGNISED, *meaning.mappings]
    return {
        "find_words": {"customer_ids": ids, "days": DAYS, "events": events, "words": words},
        "find_failures": {"customer_ids": ids, "days": FAILURE_DAYS, "recognised": understood},
        "find_named": {"customer_ids": ids},
    }


def add_words(connection: Connection, account_id: int, advice: dict[str, Advice]) -> dict[str, Advice]:
    """Returns the advice for customers of an account, with their words and failures among the facts."""
    ids = list(advice)
    row = connection.execute(sql("mappings_of_account"), {"account_id": account_id}).fetchone()
    meaning = Meaning.of_mappings(row[0] if row else {})
    queries = word_queries(ids, meaning)
    words = Words(*(connection.execute(sql(name), parameters).fetchall() for name, parameters in queries.items()))
    return {customer_id: with_words(advice[customer_id], customer_id, words, meaning) for customer_id in ids}


def with_words(advice: Advice, customer_id: str, words: Words, meaning: Meaning = PLAIN) -> Advice:
    """The advice with the words of this customer among its facts; the rows may be about others, too."""
    facts = dict(advice.facts)
    for _, name, company in _of(customer_id, words.names):
        facts |= {key: short for key, text in (("name", name), ("company", company)) if (short := _short(text))}
    quotes = [(meaning.of(event), _short(text)) for _, event, text in _of(customer_id, words.quotes)]
    subjects = [text for event, text in quotes if event == "support_ticket_opened"][: facts.get("open_tickets", 0)]
    if distinct := list(dict.fromkeys(filter(None, subjects))):
        facts["ticket_subjects"] = distinct[:MOST_SUBJECTS]
    for event, name in (("refund_requested", "refund_reason"), ("nps_response", "nps_comment")):
        if latest := next((text for sent, text in quotes if sent == event), None):
            facts[name] = latest
    for _, event, at in _of(customer_id, words.failures):
        facts |= {"last_failure": _short(event), "last_failure_at": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    return msgspec.structs.replace(advice, facts=facts)


def _of(customer_id: str, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    return [row for row in rows if row[0] == customer_id]


def _short(text: str | None) -> str | None:
    line = " ".join((text or "").split())
    return (line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…") or None
