"""The track record: of those who left, how many had been flagged before; of those flagged, how many left."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.reading import query
from api.reading.common import Count, Level, Score, Time, account_of, answer, fetch_all, fetch_merged, score_of
from api.reading.merging import add_up, first_found
from api.reading.statements import Order
from scoring.learning.departures import MOST_BEFORE
from scoring.learning.track_record import LONGEST_DAYS
from scoring.levels import NAMES
from workers.store import sql

DAYS, BEFORE, LEVEL = 90, 14, "high"
LEVELS = NAMES[1:]
PAGE = 50
LEAD_DAYS = (28, 14, 7, 3, 1)  # before a customer left


class Departed(Struct):
    """A customer who left, and the risk so many days before; null where there was no such customer at risk yet."""

    email: str
    left_at: Time
    score_before: Score | None


class TrackRecord(Struct):
    """Counts of customers: those who left, with those of them who had been flagged before; those flagged, with those of
    them who left.

    A customer left at `left_at`, when the silence became longer than is usual for that customer (then they are lapsed),
    and stayed away for a whole horizon. Flagged are the customers who stood at this level or above, not lapsed, on a
    weekly list of these days before the last horizon; they left if they did not use the product at all within the
    horizon after the first of these lists. All counts are null where there is no track record yet; `why` says so.
    """

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
    """The parameters of a track record."""

    days: int = DAYS
    before: int = BEFORE
    level: str = LEVEL


class Lead(NamedTuple):
    """The number of customers who left and had been flagged so many days before."""

    days_before: int
    flagged: int


class Details(NamedTuple):
    """Further figures for the page: the lead time of flags, the longest first, and the lines of the weekly lists in
    place of customers, as a backtest counts."""

    lead: list[Lead]
    lines: int
    lines_left: int


@query.accepts("days", "before", "level", "limit", "cursor")
async def show_track_record(request: Request) -> Response:
    """`GET /api/v1/model/track-record`: predicted and actual churn, each risk as of its day. Raises Refused."""
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
    rows = first_found(await fetch_all(request, sql("find_track_record"), {"account_id": account_id}))
    if why := _explain_missing(rows, question):
        return TrackRecord(*question, None, None, None, None, [], None, why)  # type: ignore[arg-type]
    parameters = _parameters(request, account_id, rows[0], question)
    (counts,) = add_up(await fetch_all(request, sql("count_track_record"), parameters))
    position = {"first": after is None, "left_at": after and after[0], "customer_id": after and after[1]}
    parameters |= {**position, "limit": size + 1}
    order = Order(("left_at", "customer_id"), descending=True)
    gone = await fetch_merged(request, sql("list_departed"), parameters, order)
    page = gone[:size]
    cursor = query.encode_cursor(page[-1]["left_at"], page[-1]["customer_id"]) if len(gone) > size else None
    return TrackRecord(*question, **counts, customers=[_describe(row) for row in page], next_cursor=cursor, why=None)  # type: ignore[arg-type]


async def read_details(request: Request, account_id: int, question: Question = Question()) -> Details | None:  # noqa: B008
    """Returns the details of a track record; None while there is none."""
    rows = first_found(await fetch_all(request, sql("find_track_record"), {"account_id": account_id}))
    if _explain_missing(rows, question):
        return None
    parameters = _parameters(request, account_id, rows[0], question)
    earlier = await fetch_all(request, sql("count_flagged_earlier"), {**parameters, "days_before": list(LEAD_DAYS)})
    lead = add_up(earlier, ("days_before",))
    lead.sort(key=lambda row: -row["days_before"])
    (lines,) = add_up(await fetch_all(request, sql("count_flagged_lines"), parameters))
    return Details([Lead(**row) for row in lead], **lines)


def _parameters(request: Request, account_id: int, record: dict[str, Any], question: Question) -> dict[str, Any]:
    bound = request.app.state.settings.levels[LEVELS.index(question.level)]
    moment = {"at": record["computed_at"], "horizon_days": record["horizon_days"]}
    return {"account_id": account_id, "bound": bound, **moment, **question._asdict()}


def _explain_missing(rows: list[dict[str, Any]], question: Question) -> str | None:
    if not rows:
        return (
            "The track record is not computed yet. It appears a few minutes after an import, and after each training."
        )
    (record,) = rows
    needed = record["horizon_days"] + question.before
    covered = (record["computed_at"] - record["since"]).days if record["since"] else 0
    if covered < needed:
        return (
            f"The history covers {covered} days, and a track record needs {needed}: the outcome of a risk is known "
            f"after {record['horizon_days']} days, and the risk is that of {question.before} days before."
        )
    return None


def _describe(row: dict[str, Any]) -> Departed:
    return Departed(row["email"], row["left_at"], None if row["risk"] is None else score_of(row["risk"]))
