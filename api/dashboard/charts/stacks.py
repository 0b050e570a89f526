"""Columns of counts by day: one series, or several on top of each other."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

from api.dashboard.charts.markup import FOOT, NOTHING, TOP, WIDE, across, drawing, hover, label, short, stretched, tag
from api.dashboard.charts.scales import compact, day_name, ticks

GAP = 0.2  # of a column
DATES = 4  # words below, at most


class Series(NamedTuple):
    """What is counted: its name, the class of its colour (fill-low …), a number for each day."""

    name: str
    colour: str
    values: Sequence[float]


def stacked(title: str, days: Sequence[date], series: Sequence[Series], height: int = 200) -> Markup:
    """A column for each day, the first series at its foot; `days` in order, one value of each series for each."""
    plot = height - TOP - FOOT
    totals = [sum(max(one.values[k], 0) for one in series) for k in range(len(days))]
    lines = ticks(max(totals, default=0))
    scale = plot / lines[-1]
    width = WIDE / max(len(days), 1)
    paths, feet = [], [0.0] * len(days)
    for one in series:
        paths.append(tag("path", d=_columns(one.values, feet, scale, plot, width), class_=one.colour))
        feet = [foot + max(value, 0) for foot, value in zip(feet, one.values, strict=True)]
    return drawing(
        "stack",
        title,
        _told(days, series),
        height,
        *_grid([value for value in lines[1:] if value.is_integer()], scale, plot),
        stretched(plot, *paths),
        *_grid(lines[:1], scale, plot),
        *_dates(days, height),
        "" if any(totals) else label(NOTHING, 0.5, TOP + plot / 2),
        *(hover(_day(day, series, k), k / len(days), 1 / len(days), plot) for k, day in enumerate(days)),
    )


def legend(series: Sequence[Series]) -> Markup:
    """The names beside their colours, and the numbers of the last day; the topmost first."""
    rows = []
    for one in reversed(series):
        colour = tag("rect", class_=one.colour, width="100%", height="100%")
        now = tag("b", f"{one.values[-1]:,.0f}") if one.values else ""
        rows.append(tag("li", tag("svg", colour, class_="swatch", aria_hidden="true"), f" {one.name} ", now))
    return tag("ul", *rows, class_="legend")


def _columns(values: Sequence[float], feet: Sequence[float], scale: float, plot: float, width: float) -> str:
    left, wide = width * GAP / 2, short(width * (1 - GAP))
    drawn = []
    for k, (value, foot) in enumerate(zip(values, feet, strict=True)):
        if value > 0:
            x, y = short(k * width + left), short(plot - foot * scale)
            drawn.append(f"M{x} {y}v{short(-value * scale)}h{wide}V{y}z")
    return "".join(drawn)


def _grid(lines: Sequence[float], scale: float, plot: float) -> list[Markup]:
    return [across(TOP + plot - value * scale, compact(value), "grid" if value else "axis") for value in lines]


def _dates(days: Sequence[date], height: int) -> list[Markup]:
    step = max(1, -(-len(days) // DATES))
    shown = range((len(days) - 1) % step, len(days), step)
    return [label(day_name(days[k], days[-1]), (k + 0.5) / len(days), height - 5) for k in shown]


def _day(day: date, series: Sequence[Series], k: int) -> str:
    counts = ", ".join(f"{one.values[k]:,.0f} {one.name.lower()}" for one in reversed(series))
    return f"{day_name(day)}: {counts}"


def _told(days: Sequence[date], series: Sequence[Series]) -> str:
    if not days:
        return f"{NOTHING}."
    if len(days) == 1:
        return f"{_day(days[0], series, 0)}."
    return f"{len(days)} days. {_day(days[0], series, 0)}. {_day(days[-1], series, -1)}."
