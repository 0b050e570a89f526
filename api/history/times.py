"""Times as files write them: ISO 8601, seconds or milliseconds since 1970, 31.12.2025 and 2025/12/31.

In 3/4/2025 nothing says if the month or the day comes first: it is refused unless a person says so (`dates`).
"""

import re
from datetime import UTC, datetime
from typing import Final, Literal

MILLISECONDS_FROM = 10**11  # numbers from here on are milliseconds: in seconds they lie 3,000 years ahead
EPOCH = re.compile(r"\d{9,17}(\.\d*)?")  # a shorter number may be a date: 20251231
TIME = r"(?:,?[ T](\d\d?:\d\d(?::\d\d(?:\.\d+)?)?))?"
DAY_FIRST = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})" + TIME)
YEAR_FIRST = re.compile(r"(\d{4})/(\d\d?)/(\d\d?)" + TIME)
SLASHES = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})" + TIME + r"(?: ?([ap])\.?m\.?)?", re.IGNORECASE)

Dates = Literal["day-first", "month-first"]
ORDERS: Final[tuple[Dates, ...]] = ("day-first", "month-first")


def read_time(value: object, dates: Dates | None = None) -> str | None:
    """Returns a time in ISO 8601; text in another form as it is, None for no time. Without an offset it is UTC. `dates`
    is the order in 3/4/2025. Raises ValueError for a number that is no time."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _read_text(value.strip().removesuffix(" UTC"), dates)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value)
    return str(value)


def _read_text(text: str, dates: Dates | None) -> str:
    if EPOCH.fullmatch(text):
        return _from_epoch(float(text))
    if match := DAY_FIRST.fullmatch(text):
        return _join(match[3], match[2], match[1], match[4]) or text
    if match := YEAR_FIRST.fullmatch(text):
        return _join(match[1], match[2], match[3], match[4]) or text
    if dates and (match := SLASHES.fullmatch(text)):
        month, day = (match[1], match[2]) if dates == "month-first" else (match[2], match[1])
        return _join(match[3], month, day, _to_24_hours(match[4], match[5])) or text
    return text.replace(" ", "T", 1) if text[:4].isdecimal() else text


def _from_epoch(number: float) -> str:
    try:
        return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS_FROM else number, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"the time {number!r} is not a number of seconds or milliseconds since 1970") from None


def _to_24_hours(time: str | None, half: str | None) -> str | None:
    """Returns a time of 12 hours (half is a or p) in 24 hours; 0:00 and 13:00 are none, so they stay no time."""
    if time is None or half is None:
        return time
    hour, _, rest = time.partition(":")
    if not 1 <= int(hour) <= 12:
        return "24:00"
    return f"{int(hour) % 12 + (12 if half in 'pP' else 0)}:{rest}"


def _join(year: str, month: str, day: str, time: str | None) -> str | None:
    """Returns these parts in ISO 8601, or None where they are no time."""
    hour, _, rest = (time or "0:00").partition(":")
    joined = f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{rest}"
    try:
        datetime.fromisoformat(joined)
    except ValueError:
        return None
    return joined
