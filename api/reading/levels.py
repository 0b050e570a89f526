"""The number of customers at each level of risk, by day."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.reading.common import Count, Time, account_of, answer, fetch_merged
from api.reading.intervals import bounds, clamp
from api.reading.merging import Row
from api.reading.query import accepts
from api.reading.statements import Sums
from scoring.levels import NAMES
from workers.store import sql

USUAL_DAYS = 30
BY_DAY = Sums(("day", "level"), ("customers",))
STANDINGS = (*NAMES, "lapsed")


class Day(Struct):
    """The customers by level at the end of a day in UTC, or now. Lapsed customers are counted as lapsed only."""

    at: Time
    low: Count
    medium: Count
    high: Count
    critical: Count
    lapsed: Count


class Levels(Struct):
    """The customers by level, oldest day first, from the first risk on."""

    levels: list[Day]


@accepts("from", "to")
async def show_levels(request: Request) -> Response:
    """`GET /api/v1/analytics/risk`: the number of customers at each level, by day."""
    account_id = await account_of(request)
    since, until = bounds(request)
    return answer(Levels(await read_levels(request, account_id, since, until)))


async def read_levels(
    request: Request, account_id: int, since: datetime | None = None, until: datetime | None = None
) -> list[Day]:
    """The customers by level at the end of each day from `since` to `until`, by default the last 30 days. Days before
    the first risk and in the future are left out."""
    last = clamp(until or datetime.now(UTC))
    first = clamp(since) if since else last - timedelta(days=USUAL_DAYS - 1)
    parameters = {"account_id": account_id, "first_day": first.astimezone(UTC).date()}
    moves = await fetch_merged(request, sql("risk_levels"), parameters, BY_DAY)
    return list(_add_up_moves(moves, last.astimezone(UTC).date()))


def _add_up_moves(moves: Sequence[Row], last: date) -> Iterator[Day]:
    """The customers at each level, from the first day of the moves on."""
    by_day: dict[date, list[Row]] = {}
    for move in moves:
        by_day.setdefault(move["day"], []).append(move)
    day, counts = min(by_day, default=date.max), dict.fromkeys(STANDINGS, 0)
    while day <= last:
        for move in by_day.get(day, ()):
            counts[move["level"]] += move["customers"]
        yield Day(datetime(day.year, day.month, day.day, tzinfo=UTC), **counts)
        day += timedelta(days=1)
