"""Groups of customers: by level of risk, lapsed, and new."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request

from api.dashboard.filters import link, number
from api.reading.comparisons import ModelChange
from api.reading.levels import Day, read_levels
from api.reading.merging import Cells
from scoring.levels import NAMES


class CustomerGroup(NamedTuple):
    """A group of customers: its name, and the query of its list."""

    name: str
    query: Mapping[str, str | None]


GROUPS: Mapping[str, CustomerGroup] = {
    "here": CustomerGroup("Not lapsed", {"level": None, "state": "here"}),
    "critical": CustomerGroup("Critical", {"level": "critical", "state": "here"}),
    "high": CustomerGroup("High", {"level": "high", "state": "here"}),
    "medium": CustomerGroup("Medium", {"level": "medium", "state": "here"}),
    "low": CustomerGroup("Low", {"level": "low", "state": "here"}),
    "lapsed": CustomerGroup("Lapsed", {"level": None, "state": "lapsed"}),
    "new": CustomerGroup("New", {"level": None, "state": "new"}),
    "all": CustomerGroup("All", {"level": None, "state": "all"}),
}


TILES = ("critical", "high", "medium", "low", "lapsed")
WEEK, MONTH = timedelta(days=7), timedelta(days=30)


class Tile(NamedTuple):
    """A group on the overview: its customers now, and the change in a week, with the list of that if there is one."""

    name: str
    customers: int
    change: str
    address: str | None


def count_tiles(days: Sequence[Day], week_ago: Mapping[str, int] | None, newly_lapsed: int) -> list[Tile]:
    """A tile for each level, and one for lapsed customers. `week_ago` counts by the model of now; None: not known."""
    now = days[-1] if days else None
    tiles = []
    for name in TILES[:-1]:
        change = getattr(now, name) - week_ago.get(name, 0) if now and week_ago is not None else None
        tiles.append(Tile(name, getattr(now, name, 0), _describe_change(change), None))
    words = f"{number(newly_lapsed)} in the last week" if newly_lapsed else ""
    address = link("/customers", {"state": "lapsed", "lapsed": WEEK.days})
    return [*tiles, Tile("lapsed", now.lapsed if now else 0, words, address if newly_lapsed else None)]


def restate(days: Sequence[Day], changes: Sequence[ModelChange], restated: Cells) -> list[Day]:
    """The days as the model of now has them: before its first day, the counts that were computed with it, each up to
    the next one; days before all of these are left out. `restated` holds such counts of each cell."""
    if not changes:
        return list(days)
    since = changes[-1].at.date()
    shown = []
    for day in days:
        if day.at.date() >= since:
            shown.append(day)
        elif pasts := [past for rows in restated if (past := _find_past(rows, day.at.date()))]:
            counts = sum(pasts, Counter())
            shown.append(Day(day.at, **{name: counts[name] for name in (*NAMES, "lapsed")}))
    return shown


def _find_past(rows: Sequence[Mapping[str, Any]], day: date) -> Counter[str] | None:
    """The last count of a cell up to the end of a day, or None."""
    at = max((row["at"] for row in rows if row["at"].date() <= day), default=None)
    return None if at is None else Counter({row["level"]: row["customers"] for row in rows if row["at"] == at})


def link_then(level: str, day: date) -> str:
    """The list of the customers who were at a level (or lapsed) at the end of a day."""
    if day == datetime.now(UTC).date():
        return link("/customers", GROUPS[level].query)
    return link("/customers", {"state": "all", "then": level, "on": day.isoformat()})


def _describe_change(change: int | None) -> str:
    if change is None:
        return ""
    return f"{change:+,} in a week".replace("-", "\u2212") if change else "same as a week ago"


async def count_groups(request: Request, account_id: int) -> Mapping[str, int]:
    """The number of customers in each group. Customers without a score are in none; `new` isn't counted."""
    days = await read_levels(request, account_id, datetime.now(UTC))
    counts = {name: getattr(days[-1], name) if days else 0 for name in (*NAMES, "lapsed")}
    here = sum(counts[name] for name in NAMES)
    return {**counts, "here": here, "all": here + counts["lapsed"]}
