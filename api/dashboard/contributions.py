"""The parts of a risk, rounded so that they add up to the score on the page."""

from typing import Any, NamedTuple

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.reading.customer import Risk
from scoring.explain import Explanation
from workers.cells import Cell, cell_of
from workers.risk.explain import Scored, explain_score
from workers.store import presence

EVERYTHING_ELSE = "Smaller signals and rounding"
WITH_START = "Everything else, including the starting risk of every customer"


class Contribution(NamedTuple):
    """Percentage points and their reason. The remainder has no signal."""

    signal: str | None
    text: str
    points: float


class Contributions(NamedTuple):
    """start (where it is known) + the points of all parts = score."""

    start: float | None
    parts: list[Contribution]
    score: float


async def explain_risk(request: Request, row: dict[str, Any], risk: Risk) -> Contributions:
    """All parts of a risk if they can be computed again, else its stored reasons."""
    scored = Scored(str(row["customer_id"]), *(row[name] for name in Scored._fields[1:]))
    settings = request.app.state.settings
    try:
        cell = settings.all_cells[cell_of(scored.customer_id, settings.cells)]
        explanation = await run_in_threadpool(_explain, cell, scored, risk.horizon_days)
    except psycopg.Error:
        explanation = None
    return add_up(risk, explanation)


def add_up(risk: Risk, explanation: Explanation | None) -> Contributions:
    """Parts of at least 0.1 points; the last is the remainder."""
    start = round(100 * explanation.baseline, 1) if explanation else None
    reasons = explanation.parts if explanation else risk.reasons
    parts = [Contribution(reason.signal, reason.text, round(reason.points, 1)) for reason in reasons]
    parts = [part for part in parts if part.points]
    rest = round(risk.score - (start or 0.0) - sum(part.points for part in parts), 1)
    if rest:
        parts.append(Contribution(None, EVERYTHING_ELSE if explanation else WITH_START, rest))
    return Contributions(start, parts, risk.score)


def _explain(cell: Cell, scored: Scored, horizon_days: int) -> Explanation | None:
    with presence.reading(cell) as connection:
        return explain_score(connection, scored, horizon_days)
