"""A sparkline: small columns for a cell of a table."""

from collections.abc import Sequence

from markupsafe import Markup

from api.dashboard.charts.markup import short, tag

HEIGHT = 24
STEP, WIDTH = 4, 3  # of a column


def spark(title: str, values: Sequence[float], colour: str = "fill-accent") -> Markup:
    """A column for each value, scaled to the greatest; a value above 0 is always visible."""
    most = max((value for value in values if value > 0), default=1)
    columns = "".join(
        f"M{k * STEP} {HEIGHT}v-{short(max(value / most * HEIGHT, 1.0))}h{WIDTH}V{HEIGHT}z"
        for k, value in enumerate(values)
        if value > 0
    )
    wide = max(len(values) * STEP - STEP + WIDTH, 1)
    return tag(
        "svg",
        tag("title", title),
        tag("path", d=f"M0 {HEIGHT - 0.5}h{wide}", class_="axis"),
        tag("path", d=columns, class_=colour),
        class_="chart spark",
        viewBox=f"0 0 {wide} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
    )
