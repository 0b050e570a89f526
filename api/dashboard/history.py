"""A customer's risk over time, as a chart, with the events that moved it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from markupsafe import Markup
from starlette.requests import Request

from api.dashboard.charts import Band, ChartPoint, Mark, line
from api.dashboard.charts.scales import day_name
from api.dashboard.labels import MOVES, find_move
from api.reading.common import fetch, score_of
from api.reading.customer import read_risk
from scoring.levels import LevelBounds
from workers.store import sql

SHORTEST = timedelta(days=7)
LEVELS = ("Low", "Medium", "High", "Critical")
COLOURS = ("fill-low", "fill-medium", "fill-high", "fill-critical")


class RiskChart(NamedTuple):
    """The chart, its points and marks (newest first), and if some were rebuilt."""

    drawn: Markup
    points: list[ChartPoint]
    marks: list[Mark]
    rebuilt: bool


async def draw_risk(request: Request, row: dict[str, Any], span: str, now: datetime) -> RiskChart:
    """The risk of this row's customer over `span` days, or since the first event. Shows the last score of each hour:
    during an import it goes up and down."""
    since = max(now - timedelta(days=int(span)), min(row["first_seen"], now - SHORTEST))
    history = await read_risk(request, row["customer_id"], since, None)
    points = [ChartPoint(risk.at, score_of(risk.probability), risk.rebuilt) for risk in history]
    if row["scored_at"] and (not points or points[-1].at < row["scored_at"]):
        points.append(ChartPoint(row["scored_at"], score_of(row["probability"])))
    points = list({_hour_of(point.at): point for point in points}.values())
    marks = await _find_marks(request, row["customer_id"], since)
    levels: LevelBounds = request.app.state.settings.levels
    bounds = [score_of(bound) for bound in levels]
    drawn = line(
        f"Risk of {row['email']} over time",
        points,
        between=(since, now),
        grid=(0, *bounds, 100),
        bands=[Band(*band) for band in zip((*bounds, 100), LEVELS, COLOURS, strict=True)],
        marks=marks,
    )
    return RiskChart(drawn, points[::-1], marks[::-1], any(point.rebuilt for point in points))


def _hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


async def _find_marks(request: Request, customer_id: UUID, since: datetime) -> list[Mark]:
    parameters = {"customer_id": customer_id, "since": since, "events": list(MOVES)}
    return list(_describe_marks(await fetch(request, sql("list_moves"), parameters)))


def _describe_marks(rows: Iterable[dict[str, Any]]) -> Iterable[Mark]:
    """Oldest first."""
    for row in rows:
        move, at = find_move(row["event"], row["detail"]), row["last_at"]
        times = f" ({row['n']} times)" if row["n"] > 1 else ""
        yield Mark(at, f"{day_name(at.date())}: {move.words}{times}", move.colour)
