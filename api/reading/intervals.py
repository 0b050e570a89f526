"""Ranges of time in whole intervals, in UTC: hours, days, weeks that begin on Monday, months."""

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from starlette.requests import Request

from api.errors import Refused
from api.reading import query

Interval = Literal["hour", "day", "week", "month"]

INTERVALS: tuple[Interval, ...] = ("hour", "day", "week", "month")
USUAL: dict[Interval, int] = {"hour": 48, "day": 30, "week": 13, "month": 12}  # how many, unless told otherwise
MOST = 2_000
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # no event is older
STEP: dict[Interval, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
}


class Range(NamedTuple):
    """From the start of an interval up to, not including, the end of one."""

    since: datetime
    until: datetime
    interval: Interval

    @property
    def starts(self) -> list[datetime]:
        """When each of its intervals begins."""
        found, at = [], self.since
        while at < self.until:
            found.append(at)
            at = following(at, self.interval)
        return found


def floor(moment: datetime, interval: Interval) -> datetime:
    """When the interval that holds a moment began."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if interval == "hour":
        return hour
    day = hour.replace(hour=0)
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def following(start: datetime, interval: Interval) -> datetime:
    """When the next interval begins; `start` is when one does."""
    return floor(start + STEP[interval], interval)


def last(count: int, interval: Interval, moment: datetime) -> Range:
    """So many intervals, the last of which holds the moment."""
    until = following(floor(moment, interval), interval)
    since = until
    for _ in range(count):
        since = floor(since - timedelta(seconds=1), interval)
    return Range(since, until, interval)


def bounds(request: Request) -> tuple[datetime | None, datetime | None]:
    """`from` and `to`. Raises Refused."""
    since, until = query.moment(request, "from"), query.moment(request, "to")
    if since and until and since > until:
        raise Refused("invalid_parameter", "`from` must not be after `to`.")
    return since, until


def interval_of(request: Request) -> Interval:
    """`interval`; days unless told otherwise. Raises Refused."""
    chosen = query.choice(request, "interval", INTERVALS, "day")
    return next(one for one in INTERVALS if one == chosen)


def range_of(request: Request) -> Range:
    """The intervals from the one that holds `from` to the one that holds `to`: up to now unless told otherwise, and no
    further back than events go. Raises Refused."""
    interval = interval_of(request)
    since, until = bounds(request)
    end = within(until or datetime.now(UTC))
    found = last(USUAL[interval], interval, end)
    if since:
        found = found._replace(since=floor(within(since), interval))
    if (found.until - found.since) / STEP[interval] > MOST:
        raise Refused(
            "invalid_parameter", f"`from` and `to` are over {MOST} {interval}s apart; take a longer `interval`."
        )
    return found


def within(moment: datetime) -> datetime:
    """The moment, or the nearest one at which there may be events."""
    return min(max(moment, EARLIEST), datetime.now(UTC) + timedelta(hours=1))
