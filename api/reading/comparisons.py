"""Comparisons over time, always by the model in use: a change of model is not a change of customers."""

from datetime import datetime
from typing import NamedTuple

from starlette.requests import Request

from api.reading.common import fetch_all
from api.reading.merging import add_up
from workers.accounts.renewals import RenewalProgress
from workers.store import sql


class ModelChange(NamedTuple):
    """A day on which the scores changed and the customers did not. `because`: model, or settings."""

    at: datetime
    because: str
    model: str
    model_before: str
    horizon_days: int
    horizon_before: int


async def read_model_changes(request: Request, account_id: int, since: datetime) -> list[ModelChange]:
    """Returns the changes of model, horizon and settings since a moment, oldest first: a chart marks these days. Each
    cell changes by itself; these are the times of the one that changed last."""
    cells = await fetch_all(request, sql("list_model_changes"), {"account_id": account_id, "since": since})
    latest = max(filter(None, cells), key=lambda rows: rows[-1]["at"], default=())
    return [ModelChange(**row) for row in latest]


async def read_levels_then(request: Request, account_id: int, at: datetime) -> dict[str, int] | None:
    """Returns how many customers were at each level (and `lapsed`) at a moment, as the model in use has it.

    None if that is not known: the account had no customers, or the model changed and no past was computed with it.
    """
    cells = await fetch_all(request, sql("levels_then"), {"account_id": account_id, "at": at})
    return {row["level"]: row["customers"] for row in add_up(cells, ("level",))} or None


async def read_renewal(request: Request, account_id: int) -> RenewalProgress | None:
    """Returns how many customers have their new score, while an account is scored anew; None at other times."""
    rows = add_up(await fetch_all(request, sql("renewal_progress"), {"account_id": account_id}))
    return RenewalProgress(**rows[0]) if rows else None
