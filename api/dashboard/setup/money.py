"""Revenue by level of risk, with a column for each currency: nothing is converted."""

import csv
import io
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.export import byte_order_mark
from api.dashboard.page import page
from api.dashboard.session import Session
from api.reading import query
from api.reading.common import account_of, fetch_all
from api.reading.merging import add_up
from scoring.currencies import describe_amount
from workers.store import sql

LEVELS: Final = ("critical", "high", "medium", "low", "lapsed")
SUMS: Final = ("currency", "level", "customers", "mrr", "mrr_at_risk")


class LevelRevenue(NamedTuple):
    """The revenue of a level in each currency: minor units a month, as text."""

    level: str
    paid: list[str]


class Money(NamedTuple):
    """Currencies, the revenue at risk in each, and the revenue at each level."""

    currencies: list[str]
    at_risk: list[str]
    levels: list[LevelRevenue]


async def export_money(request: Request) -> Response:
    """`GET /money.csv`: the sums by currency and level, in minor units of the currency; by session or by API key."""
    if "x-api-key" in request.headers:
        return await _export(request, await account_of(request))
    return await _export_for_session(request)


@page
async def _export_for_session(request: Request, session: Session) -> Response:
    return await _export(request, session.account_id)


async def _export(request: Request, account_id: int) -> Response:
    query.refuse_unknown(request, ("bom",))
    rows = await _read_sums(request, account_id)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(SUMS)
    writer.writerows([*(row[name] for name in SUMS[:-1]), round(row["at_risk"])] for row in rows)
    headers = {"Content-Disposition": 'attachment; filename="windback-money.csv"', "Cache-Control": "no-store"}
    return Response(byte_order_mark(request) + text.getvalue().encode(), headers=headers, media_type="text/csv")


async def _read_sums(request: Request, account_id: int) -> list[dict[str, Any]]:
    rows = add_up(await fetch_all(request, sql("money_by_level"), {"account_id": account_id}), ("currency", "level"))
    return sorted(rows, key=lambda row: (row["currency"], LEVELS.index(row["level"])))


async def read_money(request: Request, account_id: int) -> Money | None:
    """Returns revenue and revenue at risk, the largest currency first; None if no revenue is known."""
    rows = await _read_sums(request, account_id)
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
        [LevelRevenue(level, _describe_level(paid, level, currencies)) for level in LEVELS],
    )


def _describe_level(paid: Mapping[tuple[str, str], int], level: str, currencies: list[str]) -> list[str]:
    return [describe_amount(paid[level, each], each) if (level, each) in paid else "—" for each in currencies]
