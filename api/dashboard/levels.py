"""Groups of customers: by level of risk, lapsed, and new."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request

from api.reading.levels import read_levels
from scoring.levels import NAMES


class CustomerGroup(NamedTuple):
    """A group of customers: its name, and the query of its list."""

    name: str
    query: Mapping[str, str | None]


GROUPS: Mapping[str, CustomerGroup] = {
    "all": CustomerGroup("All", {"level": None, "state": None}),
    "here": CustomerGroup("Not lapsed", {"level": None, "state": "here"}),
    "critical": CustomerGroup("Critical", {"level": "critical", "state": "here"}),
    "high": CustomerGroup("High", {"level": "high", "state": "here"}),
    "medium": CustomerGroup("Medium", {"level": "medium", "state": "here"}),
    "low": CustomerGroup("Low", {"level": "low", "state": "here"}),
    "lapsed": CustomerGroup("Lapsed", {"level": None, "state": "lapsed"}),
    "new": CustomerGroup("New", {"level": None, "state": "new"}),
}


async def count_groups(request: Request, account_id: int) -> Mapping[str, int]:
    """The number of customers in each group. Customers without a score are in none; `new` isn't counted."""
    days = await read_levels(request, account_id, datetime.now(UTC))
    counts = {name: getattr(days[-1], name) if days else 0 for name in (*NAMES, "lapsed")}
    here = sum(counts[name] for name in NAMES)
    return {**counts, "here": here, "all": here + counts["lapsed"]}
