"""A bar that goes either way from a line in the middle: for a cell of a table, beside its number."""

import math

from markupsafe import Markup

from api.dashboard.charts.markup import percent, tag

HEIGHT = 14


def bar(value: float, least: float, most: float, *, up: str = "fill-up", down: str = "fill-down") -> Markup:
    """`value` between the `least` (0 or below) and the `most` (0 or above) of the bars beside it. Hidden from screen
    readers; the number is in the next cell."""
    least, most = min(least, 0.0), max(most, 0.0)
    span = most - least if math.isfinite(most - least) and most > least else 1.0
    zero, end = -least / span, (value - least) / span
    return tag(
        "svg",
        tag(
            "rect",
            x=percent(min(zero, end)),
            width=percent(abs(end - zero)),
            y=0,
            height=HEIGHT,
            rx=2,
            class_=up if value > 0 else down,
        ),
        tag("line", x1=percent(zero), x2=percent(zero), y1=0, y2=HEIGHT, class_="axis"),
        class_="chart bar",
        width="100%",
        height=HEIGHT,
        aria_hidden="true",
    )
