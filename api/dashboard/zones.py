"""The time zone of an account: pages show times and days in it. Totals by day are counted in UTC, and say so."""

from contextvars import ContextVar
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo

from workers.accounts.time_zones import UTC_NAME

_CURRENT: ContextVar[str] = ContextVar("time_zone", default=UTC_NAME)


def use(name: str) -> None:
    """Show times in this zone for the rest of the request."""
    _CURRENT.set(name)


def current() -> str:
    """The name of the request's zone."""
    return _CURRENT.get()


def local(moment: datetime) -> datetime:
    """A time on the clock of the request's zone."""
    return moment.astimezone(_find(_CURRENT.get()))


def today() -> date:
    """The day that it is in the request's zone."""
    return local(datetime.now(UTC)).date()


def offset(moment: datetime) -> str:
    """The abbreviation of a local time's zone: CET, PST, UTC, or +05:45 where it has none."""
    name = moment.tzname() or UTC_NAME
    return name if name[0].isalpha() else f"UTC{name}"


def _find(name: str) -> tzinfo:
    return UTC if name == UTC_NAME else ZoneInfo(name)
