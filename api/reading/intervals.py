"""Ranges of time in whole intervals, in UTC: hours, days, weeks that begin on Monday, months."""

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from starlette.requests import Request

from api.errors import Refused
from api.reading import query

Interval = Literal["hour", "day", "week", "month"]

INTERVALS: tuple[Interval, ...] = ("hour", "day", "week", "month")
USUAL: dict[Interval, int] = {"hour": 48, "day": 30, "week": 13, "month": 12}  # how many, by default
MOST = 2_000
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # no event is older
STEP: dict[Interval, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
}


class Range(NamedTuple):
    """From the start of an interval up to, not including, the end of another."""

    since: datetime
    until: datetime
    interval: Interval

    @property
    def starts(self) -> list[datetime]:
        """The start of each interval."""
        starts, at = [], self.since
        while at < self.until:
            starts.append(at)
            at = following(at, self.interval)
        return starts


def floor(moment: datetime, interval: Interval) -> datetime:
    """The start of the interval that contains a moment."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if interval == "hour":
        return hour
    day = hour.replace(hour=0)
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def following(start: datetime, interval: Interval) -> datetime:
    """The start of the interval after the one that begins at `start`."""
    return floor(start + STEP[interval], interval)


def last(count: int, interval: Interval, moment: datetime) -> Range:
    """`count` intervals; the last one contains the moment."""
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
    """`interval`, by default days. Raises Refused."""
    chosen = query.choice(request, "interval", INTERVALS, "day")
    return next(interval for interval in INTERVALS if interval == chosen)


def range_of(request: Request) -> Range:
    """The intervals from the one of `from` to the one of `to`: by default up to now, and no further back than events
    go. Raises Refused."""
    interval = interval_of(request)
    since, until = bounds(request)
    end = clamp(until or datetime.now(UTC))
    wanted = last(USUAL[interval], interval, end)
    if since:
        wanted = wanted._replace(since=floor(clamp(since), interval))
    if (wanted.until - wanted.since) / STEP[interval] > MOST:
        raise Refused(
            "invalid_parameter", f"`from` and `to` are over {MOST} {interval}s apart; use a longer `interval`."
        )
    return wanted


def clamp(moment: datetime) -> datetime:
    """The moment, or the nearest one that may have events."""
    return min(max(moment, EARLIEST), datetime.now(UTC) + timedelta(hours=1))
