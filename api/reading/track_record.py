"""The track record: of those who left, how many had been flagged before; of those flagged, how many left."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.reading import query
from api.reading.common import Count, Level, Score, Time, account_of, answer, fetch, score_of
from scoring.learning.track_record import LONGEST_DAYS, MOST_BEFORE
from scoring.levels import NAMES
from workers.store import sql

DAYS, BEFORE, LEVEL = 90, 14, "high"
LEVELS = NAMES[1:]
PAGE = 50


class Departed(Struct):
    """A customer who left, and the risk so many days before; null where there was no such customer yet."""

    email: str
    left_at: Time
    score_before: Score | None


class TrackRecord(Struct):
    """How many of those who left had been flagged before, and how many of those flagged left. All counts are null where
    there is no track record yet; `why` says so. A customer left when a horizon had passed without use."""

    days: Count
    before: Count
    level: Level
    left: Count | None
    flagged_before: Count | None
    flagged: Count | None
    flagged_left: Count | None
    customers: list[Departed]
    next_cursor: str | None
    why: str | None


class Question(NamedTuple):
    """What a track record is asked for."""

    days: int = DAYS
    before: int = BEFORE
    level: str = LEVEL


@query.accepts("days", "before", "level", "limit", "cursor")
async def show_track_record(request: Request) -> Response:
    """`GET /api/v1/model/track-record`: what the risks were worth, as of then. Raises Refused."""
    account_id = await account_of(request)
    question = Question(
        query.whole_number(request, "days", LONGEST_DAYS) or DAYS,
        query.whole_number(request, "before", MOST_BEFORE) or BEFORE,
        query.choice(request, "level", LEVELS, LEVEL) or LEVEL,
    )
    after = query.position(request, tuple[datetime, UUID])
    return answer(await read_track_record(request, account_id, question, query.limit(request, PAGE), after))


async def read_track_record(
    request: Request,
    account_id: int,
    question: Question = Question(),  # noqa: B008
    size: int = PAGE,
    after: tuple[datetime, UUID] | None = None,
) -> TrackRecord:
    """Returns an account's track record, and a page of the customers who left: those after a position."""
    rows = await fetch(request, sql("find_track_record"), {"account_id": account_id})
    if why := _explain_missing(rows, question):
        return TrackRecord(*question, None, None, None, None, [], None, why)  # type: ignore[arg-type]
    bound = request.app.state.settings.levels[LEVELS.index(question.level)]
    parameters = {"account_id": account_id, "at": rows[0]["computed_at"], "bound": bound, **question._asdict()}
    (counts,) = await fetch(request, sql("count_track_record"), parameters)
    position = {"first": after is None, "left_at": after and after[0], "customer_id": after and after[1]}
    gone = await fetch(request, sql("list_departed"), {**parameters, **position, "limit": size + 1})
    page = gone[:size]
    cursor = query.encode_cursor(page[-1]["left_at"], page[-1]["customer_id"]) if len(gone) > size else None
    return TrackRecord(*question, **counts, customers=[_describe(row) for row in page], next_cursor=cursor, why=None)  # type: ignore[arg-type]


def _explain_missing(rows: list[dict[str, Any]], question: Question) -> str | None:
    if not rows:
        return "The track record is not computed yet. It is within minutes after an import, and after each training."
    (record,) = rows
    needed = record["horizon_days"] + question.before
    covered = (record["computed_at"] - record["since"]).days if record["since"] else 0
    if covered < needed:
        return (
            f"The history covers {covered} days, and a track record needs {needed}: a customer has left after "
            f"{record['horizon_days']} days without use, and the risk is that of {question.before} days before."
        )
    return None


def _describe(row: dict[str, Any]) -> Departed:
    return Departed(row["email"], row["left_at"], None if row["risk"] is None else score_of(row["risk"]))
