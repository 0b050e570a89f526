"""What customers said, among the facts of their advice."""

from typing import Any

import msgspec
from starlette.requests import Request

from api.reading.common import fetch
from scoring.advice import Advice
from workers.alerts.words import failed_parameters, said_parameters, with_words
from workers.store import sql


async def advice_with_words(request: Request, row: dict[str, Any]) -> Advice | None:
    """The advice of a customer's row, with what the customer said among its facts. Raises Refused."""
    if row["advice"] is None:
        return None
    ids = [str(row["customer_id"])]
    said = [tuple(each.values()) for each in await fetch(request, sql("find_words"), said_parameters(ids))]
    failed = [tuple(each.values()) for each in await fetch(request, sql("find_failures"), failed_parameters(ids))]
    return with_words(msgspec.convert(row["advice"], Advice), ids[0], said, failed)
