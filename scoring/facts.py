"""Facts about one customer: the history as plain values, for reasons and advice."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from time import gmtime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.features import REGULAR
from scoring.history import History
from scoring.look_back import LOOK_BACK
from scoring.matters import open_matters
from scoring.rollup import DAY, Rollup

YEAR_DAYS: Final = 365.25
UNEVEN: Final = 3.0  # times as long as the usual gap is the mean gap of a customer without a rhythm
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Facts(NamedTuple):
    """One customer; times in epoch seconds, None where there is none."""

    now: float
    state: str
    first: float | None
    last_active: float | None
    seen: float | None  # the same; without any engagement, the last other sign of life
    last_login: float | None
    active_days: int
    recent_days: int
    favourite: str | None
    favourite_at: float | None
    breadth: float
    cadence: float | None  # days
    minutes: float  # of an active day
    overdue_since: float | None
    open_tickets: int
    oldest_ticket: float | None
    nps: int | None
    nps_at: float | None
    plan: str | None
    last: dict[str, float | None]  # event that is no engagement → the last time
    horizon_days: float  # over which the risk looks
    matters: dict[str, float]  # open matter → since when

    def days_since(self, at: float | None) -> float:
        """Days from an instant until now; infinite where it never came."""
        return float("inf") if at is None else (self.now - at) / DAY

    @property
    def days_silent(self) -> float:
        """Days since the customer was last active; since the first event where that never was."""
        return self.days_since(self.first if self.seen is None else self.seen)

    @property
    def rhythm(self) -> str | None:
        """The own cadence as words, "day" or "9 days", where it is known well enough. Whoever comes for some days and
        then stays away for long has none."""
        if self.cadence is None or self.active_days < REGULAR or self.first is None or self.seen is None:
            return None
        known_days = min((self.seen - self.first) / DAY, LOOK_BACK)
        if known_days > UNEVEN * self.active_days * max(self.cadence, 1.0):
            return None
        gap = max(1, round(self.cadence))
        return "day" if gap == 1 else f"{gap} days"

    @property
    def never_started(self) -> bool:
        """True if the customer has never used the product, nor paid repeatedly."""
        return self.last_active is None and (self.seen is None or self.active_days < 2)

    def days_since_event(self, event: str) -> float:
        """Days since the last such event; infinite where there was none."""
        at = self.last.get(event)
        return float("inf") if at is None else (self.now - at) / DAY


def facts_of(
    history: History, rollup: Rollup, states: Iterable[str], now: float, horizons: NDArray[Any]
) -> list[Facts]:
    """The facts of every customer, in order; `horizons` (customers,) in days."""
    names = list(history.signals)
    lasts = [_optional(history.signals[name].last) for name in names]
    columns = (
        [now] * len(history.first),
        states,
        _optional(history.first),
        _optional(history.last_active),
        _optional(history.seen),
        _optional(history.last_login),
        _whole(history.active_days),
        _whole(history.recent_days),
        _name_codes(history.favourite, rollup.details),
        _optional(history.favourite_at),
        history.breadth.tolist(),
        _optional(history.cadence),
        (history.duration[:, 1] / np.maximum(history.active[:, 1], 1.0) / 60.0).tolist(),
        _optional(history.overdue_since),
        _whole(np.ceil(history.open_tickets)),
        _optional(history.oldest_ticket),
        [None if x is None else int(x) for x in _optional(history.nps)],
        _optional(history.nps_at),
        _name_codes(history.plan, rollup.plans),
        [dict(zip(names, times, strict=True)) for times in zip(*lasts, strict=True)] or [{}] * len(history.first),
        horizons.tolist(),
        _matters(history),
    )
    return [Facts(*row) for row in zip(*columns, strict=True)]


def _matters(history: History) -> list[dict[str, float]]:
    matters: list[dict[str, float]] = [{} for _ in history.first]
    for matter, since in open_matters(history).items():
        for customer in np.flatnonzero(~np.isnan(since)).tolist():
            matters[customer][matter] = float(since[customer])
    return matters


def date(at: float, now: float) -> str:
    """A day in UTC: "3 May", with the year where it isn't now's."""
    return _date(int(at // DAY), int(now // DAY))


def month(at: float) -> str:
    """The month of a time in UTC: "May", "Sep"."""
    return MONTHS[gmtime(at).tm_mon - 1]


@lru_cache(maxsize=4096)
def _date(day: int, today: int) -> str:
    year, month, number = gmtime(day * DAY)[:3]
    text = f"{number} {MONTHS[month - 1]}"
    return text if year == gmtime(today * DAY).tm_year else f"{text} {year}"


def write_times(times: Sequence[float | None]) -> list[str | None]:
    """Times (epoch seconds) in ISO 8601, in whole seconds: all at once, since one by one takes five times as long."""
    places = [place for place, at in enumerate(times) if at is not None]
    written: list[str | None] = [None] * len(times)
    seconds = np.array([times[place] for place in places], np.float64).astype("datetime64[s]")
    for place, text in zip(places, np.datetime_as_string(seconds).tolist(), strict=True):
        written[place] = text + "Z"
    return written


def count(number: int, noun: str) -> str:
    """ "1 day", "2 days"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(days: float) -> str:
    """Elapsed time in its largest whole unit: "12 years", "3 days", "5 hours", "less than an hour". Up to two years it
    stands in days."""
    if days >= 2 * YEAR_DAYS:
        return count(int(days / YEAR_DAYS), "year")
    if days >= 1:
        return count(int(days), "day")
    hours = int(days * 24)
    return count(hours, "hour") if hours else "less than an hour"


def _optional(values: NDArray[Any]) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _whole(values: NDArray[Any]) -> list[int]:
    out: list[int] = values.astype(np.int64).tolist()
    return out


def _name_codes(codes: NDArray[Any], names: list[str]) -> list[str | None]:
    return [names[code] if code >= 0 else None for code in codes.tolist()]
