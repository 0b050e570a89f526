"""What is paid, by level of risk: a column for each currency, since nothing here is converted."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from starlette.requests import Request

from api.reading.common import fetch
from scoring.currencies import digits_of
from workers.store import sql

LEVELS: Final = ("critical", "high", "medium", "low", "lapsed")


class PaidAtLevel(NamedTuple):
    """A level, and what its customers pay in each currency: minor units a month, as text."""

    level: str
    paid: list[str]


class Money(NamedTuple):
    """Currencies, what is at risk in each, and what is paid at each level."""

    currencies: list[str]
    at_risk: list[str]
    levels: list[PaidAtLevel]


def describe_amount(minor: float, currency: str) -> str:
    """An amount in minor units with its currency: 4,900 EUR."""
    return f"{minor / 10 ** digits_of(currency):,.0f}\u00a0{currency}".rstrip()


async def read_money(request: Request, account_id: int) -> Money | None:
    """What is paid and at risk, the currency with the most first; None if nothing is known."""
    rows = await fetch(request, sql("money_by_level"), {"account_id": account_id})
    if not rows:
        return None
    totals: dict[str, float] = {}
    risks: dict[str, float] = {}
    paid: dict[tuple[str, str], int] = {}
    for row in rows:
        currency = row["currency"]
        totals[currency] = totals.get(currency, 0) + row["mrr"]
        risks[currency] = risks.get(currency, 0) + (row["at_risk"] if row["level"] != "lapsed" else 0)
        paid[row["level"], currency] = row["mrr"]
    currencies = sorted(totals, key=lambda currency: -totals[currency])
    return Money(
        currencies,
        [describe_amount(risks[currency], currency) for currency in currencies],
        [PaidAtLevel(level, _describe_level(paid, level, currencies)) for level in LEVELS],
    )


def _describe_level(paid: Mapping[tuple[str, str], int], level: str, currencies: list[str]) -> list[str]:
    return [describe_amount(paid[level, each], each) if (level, each) in paid else "-" for each in currencies]
