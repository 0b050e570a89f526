"""Markup: elements whose text and attributes are escaped, whatever they hold."""

import math
import re

from markupsafe import Markup, escape

WIDE = 1000  # units of the inner drawing from left to right
TOP = 14  # pixels above the plot
NOTHING = "No data in this period"
FOOT = 22  # … and below it, for the labels of the x axis

_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def tag(element: str, *inner: object, **attributes: object) -> Markup:
    """An element. `class_` becomes class and `text_anchor` text-anchor; numbers are written short; None is left out."""
    names = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    body = "".join(_text(part) for part in inner)
    return Markup(f"<{element}{names}>{body}</{element}>" if inner else f"<{element}{names}/>")  # noqa: S704 - escaped


def drawing(kind: str, title: str, description: str, height: int, *marks: object, linked: bool = False) -> Markup:
    """A chart of this height in pixels, as wide as its place, with a title and a description."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *marks,
        class_=f"chart framed {kind}",
        width="100%",
        height=height,
        role="group" if linked else "img",
    )


def stretched(height: float, *marks: object, top: float = TOP) -> Markup:
    """An inner drawing: WIDE units from left to right, pixels from top to bottom."""
    return tag(
        "svg",
        *marks,
        x="0",
        y=top,
        width="100%",
        height=height,
        viewBox=f"0 0 {WIDE} {short(height)}",
        preserveAspectRatio="none",
    )


def label(text: str, x: float, y: float, class_: str = "label") -> Markup:
    """A word at a share of the width (0 to 1) and a height in pixels; at the edges it stays inside."""
    anchor = "start" if x < 0.04 else "end" if x > 0.96 else "middle"
    return tag("text", text, x=percent(x), y=y, text_anchor=anchor, class_=class_)


def across(y: float, name: str, class_: str = "grid") -> Markup:
    """A line from left to right, and its name before it: charts have a padding there."""
    grid_line = tag("line", x1="0", x2="100%", y1=y, y2=y, class_=class_)
    return grid_line + (tag("text", name, x="-6", y=y + 4, text_anchor="end", class_="label") if name else Markup())


def hover(text: str, x: float, width: float, height: float, top: float = TOP) -> Markup:
    """An invisible column with a tooltip; x and width are shares."""
    place = {"x": percent(x), "y": top, "width": percent(width), "height": height}
    return tag("rect", tag("title", text), class_="hover", **place)


def percent(share: float) -> str:
    """0.5 → 50%, kept between 0% and 100%."""
    return f"{short(100 * min(max(share, 0.0), 1.0)) if math.isfinite(share) else 0}%"


def short(value: float) -> str:
    """A number with at most two places; 0 for infinities and NaN."""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
    return "0" if text == "-0" else text


def _value(value: object) -> str:
    return short(value) if isinstance(value, float) else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, Markup) else escape(_NO_XML.sub("\ufffd", str(value)))
