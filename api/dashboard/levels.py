"""Customers in groups: those who are here by their level of risk, and those who have lapsed."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request

from api.customers import fetch
from workers.store import sql


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
    """How many customers are in each group. Who has no score yet is in `all` only; `new` are in their level as well."""
    counts = dict.fromkeys(GROUPS, 0)
    for row in await fetch(request, sql("count_levels"), {"account_id": account_id}):
        n, level, state = row["customers"], row["level"], row["state"]
        counts["all"] += n
        if state == "lapsed":
            counts["lapsed"] += n
        elif level is not None:
            counts[level] += n
            counts["here"] += n
        if state == "new":
            counts["new"] += n
    return counts
