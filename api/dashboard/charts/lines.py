"""A line over time, with bands behind it, and marks of what happened below."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from math import isfinite
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
from api.dashboard.charts.scales import compact, day_name, day_ticks, share_of

MARKS = 18  # pixels of the row of marks
SLOTS = 120  # of the time shown; each keeps at most three points


class ChartPoint(NamedTuple):
    """A value at an instant. `rebuilt` ones were computed later from imported history, and are dashed."""

    at: datetime
    value: float
    rebuilt: bool = False


class Band(NamedTuple):
    """A named range of values: from the end of the band before it up to `until`."""

    until: float
    name: str
    colour: str


class Mark(NamedTuple):
    """An event, drawn below the line; `colour` is a class (mark-up, mark-down, mark-other)."""

    at: datetime
    text: str
    colour: str = "mark-other"


class Frame(NamedTuple):
    """The time from left to right, the values from bottom to top, the plot's height in pixels."""

    since: datetime
    until: datetime
    low: float
    high: float
    plot: float

    def x(self, at: datetime) -> float:
        """The share of the width."""
        return share_of(at, self.since, self.until)

    def y(self, value: float) -> float:
        """Pixels from the plot's top."""
        span = self.high - self.low
        return self.plot * (1 - min(max((value - self.low) / span, 0.0), 1.0)) if span > 0 else self.plot


def line(
    title: str,
    points: Sequence[ChartPoint],
    *,
    between: tuple[datetime, datetime],
    values: tuple[float, float] = (0.0, 100.0),
    grid: Sequence[float] = (0, 25, 50, 75, 100),
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
    say: Callable[[float], str] = compact,
    height: int = 240,
) -> Markup:
    """Points in the order of time. Points and marks outside `between` are left out."""
    frame = Frame(*between, *values, height - TOP - FOOT - (MARKS if marks else 0))
    inside = [point for point in points if between[0] <= point.at <= between[1] and isfinite(point.value)]
    shown = list(_thin_out(inside, frame))
    return drawing(
        "line",
        title,
        _describe(shown, marks, say),
        height,
        *_draw_bands(bands, frame),
        *(across(TOP + frame.y(value), say(value), "grid" if value > frame.low else "axis") for value in grid),
        stretched(frame.plot, *_draw_paths(shown, frame)) if len(shown) > 1 else "",
        *(label(name, x, height - 5) for x, name in day_ticks(*between)),
        *_draw_band_names(bands, frame),
        *_draw_hovers(shown, say, frame),
        _draw_last(shown[-1], frame) if shown else label(NOTHING, 0.5, TOP + frame.plot / 2),
        *(_draw_mark(mark, frame) for mark in marks if between[0] <= mark.at <= between[1]),
    )


def _thin_out(points: Sequence[ChartPoint], frame: Frame) -> Iterator[ChartPoint]:
    """Keeps the lowest, the highest and the last point of each slot: the outline stays the same."""
    for _, slot in groupby(points, lambda point: int(frame.x(point.at) * SLOTS)):
        inside = list(slot)
        kept = {min(inside, key=lambda point: point.value), max(inside, key=lambda point: point.value), inside[-1]}
        yield from sorted(kept)


def _draw_paths(points: Sequence[ChartPoint], frame: Frame) -> Iterator[Markup]:
    """The area below the line, then the line: solid and rebuilt stretches are separate paths."""
    places = [f"{short(frame.x(point.at) * WIDE)} {short(frame.y(point.value))}" for point in points]
    first, last = (short(frame.x(point.at) * WIDE) for point in (points[0], points[-1]))
    yield tag("path", d=f"M{'L'.join(places)}L{last} {short(frame.plot)}L{first} {short(frame.plot)}z", class_="area")
    start = 0
    for rebuilt, stretch in groupby(points, lambda point: point.rebuilt):
        end = start + len(list(stretch))
        if start < len(places) - 1:
            piece = "L".join(places[start : end + 1])
            yield tag("path", d=f"M{piece}", class_="stroke rebuilt" if rebuilt else "stroke")
        start = end


def _draw_bands(bands: Sequence[Band], frame: Frame) -> Iterator[Markup]:
    bottom = frame.plot
    for band in bands:
        top = frame.y(band.until)
        yield tag("rect", x="0", y=TOP + top, width="100%", height=bottom - top, class_=f"band {band.colour}")
        bottom = top


def _draw_band_names(bands: Sequence[Band], frame: Frame) -> Iterator[Markup]:
    for band in bands:
        y = TOP + frame.y(band.until) + 11
        yield tag("text", band.name, x="100%", y=y, text_anchor="end", class_="label band-name")


def _draw_hovers(points: Sequence[ChartPoint], say: Callable[[float], str], frame: Frame) -> Iterator[Markup]:
    """Each point's hover area: from halfway to the point before to halfway to the next."""
    places = [frame.x(point.at) for point in points]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(places)), 1.0]
    for point, (left, right) in zip(points, pairwise(edges), strict=False):
        yield hover(_describe_point(point, say), left, right - left, frame.plot)


def _draw_last(point: ChartPoint, frame: Frame) -> Markup:
    return tag("circle", cx=percent(frame.x(point.at)), cy=TOP + frame.y(point.value), r=4, class_="dot")


def _draw_mark(mark: Mark, frame: Frame) -> Markup:
    """A dot in the row below the plot, and a thin line up."""
    x, y = percent(frame.x(mark.at)), TOP + frame.plot + MARKS / 2 + 1
    return tag(
        "g",
        tag("title", mark.text),
        tag("line", x1=x, x2=x, y1=TOP, y2=y, class_="drop"),
        tag("circle", cx=x, cy=y, r=5),
        class_=f"mark {mark.colour}",
    )


def _describe_point(point: ChartPoint, say: Callable[[float], str]) -> str:
    return f"{day_name(point.at.date())}: {say(point.value)}{', estimated afterwards' if point.rebuilt else ''}"


def _describe(points: Sequence[ChartPoint], marks: Sequence[Mark], say: Callable[[float], str]) -> str:
    if not points:
        return f"{NOTHING}."
    first, last = points[0], points[-1]
    low, high = (choose(points, key=lambda point: point.value) for choose in (min, max))
    text = (
        f"{_describe_point(last, say)}."
        if len(points) == 1
        else f"From {_describe_point(first, say)} to {_describe_point(last, say)}."
    )
    if len(points) > 2:
        text += f" Lowest on {_describe_point(low, say)}; highest on {_describe_point(high, say)}."
    return text + "".join(f" {mark.text}." for mark in marks[-20:])
