"""Adds customers' own words to the facts of their advice."""

from typing import Any

import msgspec
from starlette.requests import Request

from api.reading.common import fetch
from scoring.advice import Advice
from scoring.event_roles import Meaning
from workers.alerts.words import Words, with_words, word_queries
from workers.store import sql


async def advice_with_words(request: Request, row: dict[str, Any]) -> Advice | None:
    """The advice of a customer's row, with what the customer said among its facts. Raises Refused."""
    if row["advice"] is None:
        return None
    customer_id = str(row["customer_id"])
    mapped = await fetch(request, sql("mappings_of_account"), {"account_id": row["account_id"]})
    meaning = Meaning.of_mappings(mapped[0]["mappings"] if mapped else {})
    asked = {name: {**each, "customer_id": customer_id} for name, each in word_queries([customer_id], meaning).items()}
    rows = [await fetch(request, sql(name), parameters) for name, parameters in asked.items()]
    words = Words(*([tuple(each.values()) for each in part] for part in rows))
    return with_words(msgspec.convert(row["advice"], Advice), customer_id, words, meaning)
