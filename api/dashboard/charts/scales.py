"""Scales: the positions of grid lines, and their labels."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from scoring.facts import MONTHS

STEPS_DAYS = (1, 2, 7, 14, 28, 91, 182, 364)


def ticks(most: float, count: int = 4) -> list[float]:
    """From 0 in about `count` round steps, the last of them at least `most`; whole numbers from 1 on."""
    if not 1e-9 < most < math.inf:
        return [0.0, 1.0]
    step = _round(most / count)
    return [k * step for k in range(math.ceil(round(most / step, 6)) + 1)]


def _round(least: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten; below 10 no 2.5."""
    power = 10.0 ** math.floor(math.log10(least))
    factors = (1, 2, 2.5, 5, 10) if power >= 10 else (1, 2, 5, 10)
    return next((factor * power for factor in factors if factor * power >= least * (1 - 1e-9)), 10 * power)


def compact(value: float) -> str:
    """1234 → 1.2k, 2500000 → 2.5M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:.2f}".rstrip("0").rstrip(".")


def share_of(at: datetime, since: datetime, until: datetime) -> float:
    """The position of an instant between two others: 0 to 1."""
    span = (until - since).total_seconds()
    return min(max((at - since).total_seconds() / span, 0.0), 1.0) if span > 0 else 1.0


def day_ticks(since: datetime, until: datetime, most: int = 5) -> Iterator[tuple[float, str]]:
    """Midnights (UTC) between two instants, evenly spaced, as shares and words; the latest is the last full step."""
    days = (until - since).days + 1
    step = next((step for step in STEPS_DAYS if days / step <= most), max(days // most, 1))
    last = datetime(*until.astimezone(UTC).timetuple()[:3], tzinfo=UTC)
    for back in range(min(days // step, most), -1, -1):
        at = last - timedelta(days=back * step)
        if at >= since:
            yield share_of(at, since, until), day_name(at.date(), last.date() if back else None)


def day_name(day: date, beside: date | None = None) -> str:
    """3 May; with the year where `beside` is in another one."""
    name = f"{day.day} {MONTHS[day.month - 1]}"
    return f"{name} {day.year}" if beside and beside.year != day.year else name
