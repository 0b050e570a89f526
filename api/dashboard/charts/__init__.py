"""Charts, drawn on the server: data in, SVG out.

Widths are shares of whatever room a chart gets and heights are pixels, so that letters keep their size on every screen:
lines and areas live in an inner drawing that stretches, letters and dots beside it. Colours are classes (charts.css),
no inline styles. Every chart says what it shows in its <title> and its <desc>.
"""

from api.dashboard.charts.bars import bar
from api.dashboard.charts.calibration import Group, calibration
from api.dashboard.charts.lines import Band, Mark, Point, line
from api.dashboard.charts.sparks import spark
from api.dashboard.charts.stacks import Series, legend, stacked

__all__ = ["Band", "Group", "Mark", "Point", "Series", "bar", "calibration", "legend", "line", "spark", "stacked"]
