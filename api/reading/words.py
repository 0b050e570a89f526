"""What customers said, among the facts of their advice."""

from typing import Any

import msgspec
from starlette.requests import Request

from api.reading.common import fetch
from scoring.advice import Advice
from workers.alerts.words import Words, with_words, word_queries
from workers.store import sql


async def advice_with_words(request: Request, row: dict[str, Any]) -> Advice | None:
    """The advice of a customer's row, with what the customer said among its facts. Raises Refused."""
    if row["advice"] is None:
        return None
    customer_id = str(row["customer_id"])
    rows = [await fetch(request, sql(name), asked) for name, asked in word_queries([customer_id]).items()]
    words = Words(*([tuple(each.values()) for each in found] for found in rows))
    return with_words(msgspec.convert(row["advice"], Advice), customer_id, words)
