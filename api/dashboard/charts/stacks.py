"""Columns of counts by day: one series, or several on top of each other."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

from api.dashboard.charts.markup import (
    FOOT,
    NOTHING,
    TOP,
    WIDE,
    across,
    drawing,
    hover,
    label,
    percent,
    short,
    stretched,
    tag,
)
from api.dashboard.charts.scales import compact, day_name, ticks

GAP = 0.2  # of a column
DATES = 4  # words below, at most


class Layer(NamedTuple):
    """One counted series: its name, the class of its colour (fill-low …), a number for each day."""

    name: str
    colour: str
    values: Sequence[float]


def stacked(
    title: str,
    days: Sequence[date],
    layers: Sequence[Layer],
    height: int = 200,
    address: Callable[[Layer, date], str] | None = None,
    mark: date | None = None,
) -> Markup:
    """A column for each day, the first layer at its foot; `days` in order, one value of each layer for each. `address`
    makes each part of a column a link; a table with the same links beside the chart is for the keyboard. `mark` is a
    day at which a line is drawn."""
    plot = height - TOP - FOOT
    totals = [sum(max(layer.values[k], 0) for layer in layers) for k in range(len(days))]
    lines = ticks(max(totals, default=0))
    scale = plot / lines[-1]
    width = WIDE / max(len(days), 1)
    paths, feet = [], [0.0] * len(days)
    for layer in layers:
        paths.append(tag("path", d=_draw_columns(layer.values, feet, scale, plot, width), class_=layer.colour))
        feet = [foot + max(value, 0) for foot, value in zip(feet, layer.values, strict=True)]
    return drawing(
        "stack",
        title,
        _describe(days, layers),
        height,
        *_draw_grid([value for value in lines[1:] if value.is_integer()], scale, plot),
        stretched(plot, *paths),
        *_draw_grid(lines[:1], scale, plot),
        *_draw_dates(days, height),
        "" if any(totals) else label(NOTHING, 0.5, TOP + plot / 2),
        *(hover(_describe_day(day, layers, k), k / len(days), 1 / len(days), plot) for k, day in enumerate(days)),
        *(_draw_links(days, layers, scale, plot, address) if address else ()),
        _draw_mark(days.index(mark) / len(days), plot) if mark in days else "",
        linked=address is not None,
    )


def legend(layers: Sequence[Layer]) -> Markup:
    """The names beside their colours, and the numbers of the last day; the topmost first."""
    rows = []
    for layer in reversed(layers):
        colour = tag("rect", class_=layer.colour, width="100%", height="100%")
        now = tag("b", f"{layer.values[-1]:,.0f}") if layer.values else ""
        rows.append(tag("li", tag("svg", colour, class_="swatch", aria_hidden="true"), f" {layer.name} ", now))
    return tag("ul", *rows, class_="legend")


def _draw_columns(values: Sequence[float], feet: Sequence[float], scale: float, plot: float, width: float) -> str:
    left, wide = width * GAP / 2, short(width * (1 - GAP))
    columns = []
    for k, (value, foot) in enumerate(zip(values, feet, strict=True)):
        if value > 0:
            x, y = short(k * width + left), short(plot - foot * scale)
            columns.append(f"M{x} {y}v{short(-value * scale)}h{wide}V{y}z")
    return "".join(columns)


def _draw_mark(x: float, plot: float) -> Markup:
    return tag("line", x1=percent(x), x2=percent(x), y1=TOP, y2=TOP + plot, class_="drop")


def _draw_links(
    days: Sequence[date], layers: Sequence[Layer], scale: float, plot: float, address: Callable[[Layer, date], str]
) -> Iterator[Markup]:
    """An invisible link over each part of each column."""
    for k, day in enumerate(days):
        foot = 0.0
        for layer in layers:
            size = max(layer.values[k], 0)
            if size:
                text = f"{day_name(day)}: {size:,.0f} {layer.name.lower()}"
                part = hover(text, k / len(days), 1 / len(days), size * scale, TOP + plot - (foot + size) * scale)
                yield tag("a", part, href=address(layer, day), tabindex="-1", aria_hidden="true")
            foot += size


def _draw_grid(lines: Sequence[float], scale: float, plot: float) -> list[Markup]:
    return [across(TOP + plot - value * scale, compact(value), "grid" if value else "axis") for value in lines]


def _draw_dates(days: Sequence[date], height: int) -> list[Markup]:
    step = max(1, -(-len(days) // DATES))
    shown = range((len(days) - 1) % step, len(days), step)
    return [label(day_name(days[k], days[-1]), (k + 0.5) / len(days), height - 5) for k in shown]


def _describe_day(day: date, layers: Sequence[Layer], k: int) -> str:
    counts = ", ".join(f"{layer.values[k]:,.0f} {layer.name.lower()}" for layer in reversed(layers))
    return f"{day_name(day)}: {counts}"


def _describe(days: Sequence[date], layers: Sequence[Layer]) -> str:
    if not days:
        return f"{NOTHING}."
    if len(days) == 1:
        return f"{_describe_day(days[0], layers, 0)}."
    return f"{len(days)} days. {_describe_day(days[0], layers, 0)}. {_describe_day(days[-1], layers, -1)}."
