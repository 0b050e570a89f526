"""Times as files write them: ISO 8601, seconds or milliseconds since 1970, 31.12.2025 and 2025/12/31.

12/31/2025 is refused: nothing says if the month or the day comes first.
"""

import re
from datetime import UTC, datetime

MILLISECONDS_FROM = 10**11  # numbers from here on are milliseconds: in seconds they lie 3,000 years ahead
EPOCH = re.compile(r"\d{9,17}(\.\d*)?")  # a shorter number may be a date: 20251231
TIME = r"(?:,?[ T](\d\d?:\d\d(?::\d\d(?:\.\d+)?)?))?"
DAY_FIRST = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})" + TIME)
YEAR_FIRST = re.compile(r"(\d{4})/(\d\d?)/(\d\d?)" + TIME)


def read_time(value: object) -> str | None:
    """Returns a time in ISO 8601; text in another form as it is, None for no time. Without an offset it is UTC. Raises
    ValueError for a number that is no time."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _read_text(value.strip().removesuffix(" UTC"))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value)
    return str(value)


def _read_text(text: str) -> str:
    if EPOCH.fullmatch(text):
        return _from_epoch(float(text))
    if match := DAY_FIRST.fullmatch(text):
        return _join(match[3], match[2], match[1], match[4]) or text
    if match := YEAR_FIRST.fullmatch(text):
        return _join(match[1], match[2], match[3], match[4]) or text
    return text.replace(" ", "T", 1) if text[:4].isdecimal() else text


def _from_epoch(number: float) -> str:
    try:
        return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS_FROM else number, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"the time {number!r} is not a number of seconds or milliseconds since 1970") from None


def _join(year: str, month: str, day: str, time: str | None) -> str | None:
    """Returns these parts in ISO 8601, or None where they are no time."""
    hour, _, rest = (time or "0:00").partition(":")
    joined = f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{rest}"
    try:
        datetime.fromisoformat(joined)
    except ValueError:
        return None
    return joined
