"""Time zones by name, as people choose them: Europe/Berlin, America/New_York, UTC."""

from functools import cache
from typing import Final
from zoneinfo import available_timezones

UTC_NAME: Final = "UTC"
_NOT_PLACES: Final = ("Etc/", "SystemV/", "US/", "posix/", "right/")


@cache
def list_time_zones() -> tuple[str, ...]:
    """UTC, then all places in order."""
    places = {name for name in available_timezones() if "/" in name and not name.startswith(_NOT_PLACES)}
    return (UTC_NAME, *sorted(places))


def explain_bad_time_zone(name: str) -> str | None:
    """Describes the fault of a name; None if it is a time zone."""
    if name in list_time_zones():
        return None
    return f"{name[:60]!r} is not a time zone; write a place like Europe/Berlin or America/New_York, or UTC"
