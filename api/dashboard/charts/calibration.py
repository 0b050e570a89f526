"""What was said beside what happened: on the diagonal, the two are the same."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from api.dashboard.charts.markup import FOOT, NOTHING, TOP, WIDE, across, drawing, label, percent, stretched, tag
from api.dashboard.charts.scales import ticks

ROOM = 16  # pixels below, for the name of the axis
LARGEST = 9.0  # radius


class Group(NamedTuple):
    """Customers of about the same risk: how many, the mean risk, the share that left (0 to 1)."""

    customers: int
    said: float
    happened: float


def calibration(title: str, groups: Sequence[Group], height: int = 280) -> Markup:
    """A dot for each group, its area by its customers; both axes go as far as the data does."""
    plot = height - TOP - FOOT - ROOM
    steps = ticks(max((max(one.said, one.happened) for one in groups), default=1.0))
    most = steps[-1]
    customers = max((one.customers for one in groups), default=1)
    return drawing(
        "calibration",
        title,
        _told(groups),
        height,
        *(across(TOP + plot * (1 - value / most), _said(value, most), "grid" if value else "axis") for value in steps),
        stretched(plot, tag("path", d=f"M0 {plot}L{WIDE} 0", class_="diagonal")),
        *(label(_said(value, most), value / most, height - FOOT) for value in steps[1:]),
        label("Risk that was given", 0.5, height - 5, "label name"),
        tag("text", "Share that left", x="0", y=TOP - 4, class_="label name"),
        *(_dot(one, most, plot, customers) for one in groups),
    )


def _said(share: float, most: float) -> str:
    return f"{share:.0%}" if most > 0.1 or not share else f"{share:.1%}"


def _dot(one: Group, most: float, plot: float, customers: int) -> Markup:
    return tag(
        "circle",
        tag("title", _group(one)),
        cx=percent(one.said / most),
        cy=TOP + plot * (1 - one.happened / most),
        r=max(LARGEST * math.sqrt(one.customers / customers), 3.0),
        class_="group",
    )


def _group(one: Group) -> str:
    return f"{one.customers:,} customers: {one.said:.1%} said, {one.happened:.1%} left"


def _told(groups: Sequence[Group]) -> str:
    return f"{'; '.join(map(_group, groups))}." if groups else f"{NOTHING}."
