"""Predicted and actual churn: on the diagonal, the two are the same."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from api.dashboard.charts.markup import FOOT, NOTHING, TOP, WIDE, across, drawing, label, percent, stretched, tag
from api.dashboard.charts.scales import ticks

ROOM = 16  # pixels below, for the name of the axis
LARGEST = 9.0  # radius


class CalibrationGroup(NamedTuple):
    """Customers of similar risk: how many, their mean risk, and the share that left (both 0 to 1)."""

    customers: int
    predicted: float
    actual: float


def calibration(title: str, groups: Sequence[CalibrationGroup], height: int = 280) -> Markup:
    """A dot for each group, its area by its customers. Both axes end with the data."""
    plot = height - TOP - FOOT - ROOM
    steps = ticks(max((max(group.predicted, group.actual) for group in groups), default=1.0))
    most = steps[-1]
    customers = max((group.customers for group in groups), default=1)
    return drawing(
        "calibration",
        title,
        _describe(groups),
        height,
        *(_draw_step(value, most, plot) for value in steps),
        stretched(plot, tag("path", d=f"M0 {plot}L{WIDE} 0", class_="diagonal")),
        *(label(_format_share(value, most), value / most, height - FOOT) for value in steps[1:]),
        label("Predicted risk", 0.5, height - 5, "label name"),
        tag("text", "Actually left", x="0", y=TOP - 4, class_="label name"),
        *(_draw_dot(group, most, plot, customers) for group in groups),
    )


def _draw_step(value: float, most: float, plot: float) -> Markup:
    return across(TOP + plot * (1 - value / most), _format_share(value, most), "grid" if value else "axis")


def _format_share(share: float, most: float) -> str:
    return f"{share:.0%}" if most > 0.1 or not share else f"{share:.1%}"


def _draw_dot(group: CalibrationGroup, most: float, plot: float, customers: int) -> Markup:
    return tag(
        "circle",
        tag("title", _describe_group(group)),
        cx=percent(group.predicted / most),
        cy=TOP + plot * (1 - group.actual / most),
        r=max(LARGEST * math.sqrt(group.customers / customers), 3.0),
        class_="group",
    )


def _describe_group(group: CalibrationGroup) -> str:
    return f"{group.customers:,} customers: {group.predicted:.1%} predicted, {group.actual:.1%} left"


def _describe(groups: Sequence[CalibrationGroup]) -> str:
    return f"{'; '.join(map(_describe_group, groups))}." if groups else f"{NOTHING}."
