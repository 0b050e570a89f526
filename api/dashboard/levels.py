"""Customers in groups: those who are here by their level of risk, and those who have lapsed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request

from api.reading.levels import read_levels
from scoring.levels import NAMES


class Group(NamedTuple):
    """A group: its name, and the query of its list."""

    name: str
    query: Mapping[str, str | None]


GROUPS: Mapping[str, Group] = {
    "all": Group("All", {"level": None, "state": None}),
    "here": Group("Not lapsed", {"level": None, "state": "here"}),
    "critical": Group("Critical", {"level": "critical", "state": "here"}),
    "high": Group("High", {"level": "high", "state": "here"}),
    "medium": Group("Medium", {"level": "medium", "state": "here"}),
    "low": Group("Low", {"level": "low", "state": "here"}),
    "lapsed": Group("Lapsed", {"level": None, "state": "lapsed"}),
    "new": Group("New", {"level": None, "state": "new"}),
}


async def count_groups(request: Request, account_id: int) -> Mapping[str, int]:
    """How many customers are in each group; those without a score are in none, and `new` ones aren't counted apart."""
    days = await read_levels(request, account_id, datetime.now(UTC))
    counts = {name: getattr(days[-1], name) if days else 0 for name in (*NAMES, "lapsed")}
    here = sum(counts[name] for name in NAMES)
    return {**counts, "here": here, "all": here + counts["lapsed"]}
