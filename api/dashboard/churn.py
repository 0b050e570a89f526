"""Churn by month, and risk by plan."""

from datetime import date
from operator import itemgetter
from typing import Final, NamedTuple

from starlette.requests import Request

from api.reading.common import fetch_all
from api.reading.merging import add_up
from workers.store import sql

WEEK_BEFORE: Final = 7  # days before a customer lapsed, as of which a flag counts
MOST_PLANS: Final = 12
NO_PLAN: Final = ""


class MonthRow(NamedTuple):
    """A month: customers at its start, and what happened in it; `flagged` are those of the lapsed."""

    month: date
    customers: int
    joined: int
    came_back: int
    lapsed: int
    flagged: int

    @property
    def present(self) -> int:
        """The customers of the month. New customers who lapsed within it count too, so churn is at most 100%."""
        return self.customers + self.joined + self.came_back


class PlanRisk(NamedTuple):
    """A plan: its customers who have not lapsed, those of them at high or critical risk, and the mean risk (0 to 1)."""

    plan: str
    customers: int
    likely: int
    risk: float
    lapsed: int


async def read_churn_months(request: Request, account_id: int) -> list[MonthRow]:
    """Returns the whole months of the last year in which there were customers, the latest first; none before they are
    computed."""
    bound = request.app.state.settings.levels.high
    parameters = {"account_id": account_id, "bound": bound, "before": WEEK_BEFORE}
    months = add_up(await fetch_all(request, sql("list_churn_months"), parameters), ("month",))
    counted = [MonthRow(**row) for row in sorted(months, key=itemgetter("month"), reverse=True)]
    return [month for month in counted if month.customers or month.joined or month.came_back]


async def read_plans(request: Request, account_id: int) -> list[PlanRisk]:
    """The plans with the most customers first; none where no customer has one."""
    rows = add_up(await fetch_all(request, sql("risk_by_plan"), {"account_id": account_id}), ("plan",))
    plans = [PlanRisk(**{**row, "risk": row["risk"] / max(row["customers"], 1)}) for row in rows]
    plans = sorted(plans, key=lambda plan: (-plan.customers, plan.plan))[:MOST_PLANS]
    return plans if any(plan.plan != NO_PLAN for plan in plans) else []
