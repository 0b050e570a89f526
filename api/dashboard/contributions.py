"""The parts of a risk, so rounded that they add up to what is shown."""

from typing import Any, NamedTuple

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.reading.customer import Risk
from scoring.explain import Explanation
from workers.risk.explain import Scored, explain_score
from workers.store import connect

EVERYTHING_ELSE = "Smaller parts, and rounding"
WITH_START = "Everything else, and the risk that everybody starts with"


class Part(NamedTuple):
    """Percentage points, and what they rest on; no signal for what remains."""

    signal: str | None
    text: str
    points: float


class Shares(NamedTuple):
    """start (where it is known) + the points of all parts = score."""

    start: float | None
    parts: list[Part]
    score: float

    @property
    def least(self) -> float:
        """What the bars span, downwards."""
        return min((part.points for part in self.parts), default=0.0)

    @property
    def most(self) -> float:
        """… and upwards."""
        return max((part.points for part in self.parts), default=0.0)


async def shares(request: Request, row: dict[str, Any], risk: Risk) -> Shares:
    """All parts of a risk where they can be computed again, else the reasons that were kept with it."""
    scored = Scored(str(row["customer_id"]), *(row[name] for name in Scored._fields[1:]))
    settings = request.app.state.settings
    try:
        found = await run_in_threadpool(_explained, settings.database_url, scored, risk.horizon_days)
    except psycopg.OperationalError:
        found = None
    return add_up(risk, found)


def add_up(risk: Risk, found: Explanation | None) -> Shares:
    """Parts of at least 0.1 points; the last is what the others leave."""
    start = round(100 * found.baseline, 1) if found else None
    known = found.parts if found else risk.reasons
    parts = [Part(one.signal, one.text, round(one.points, 1)) for one in known if abs(one.points) >= 0.05]
    rest = round(risk.score - (start or 0.0) - sum(part.points for part in parts), 1)
    if rest:
        parts.append(Part(None, EVERYTHING_ELSE if found else WITH_START, rest))
    return Shares(start, parts, risk.score)


def _explained(database_url: str, scored: Scored, horizon_days: int) -> Explanation | None:
    with connect(database_url) as connection:
        return explain_score(connection, scored, horizon_days)
