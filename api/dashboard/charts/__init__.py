"""Charts, drawn on the server: data in, SVG out.

Widths are shares of the space a chart gets and heights are pixels, so that text keeps its size on every screen: lines
and areas live in an inner drawing that stretches, text and dots beside it. Colours are classes (charts.css), no inline
styles. Every chart describes itself in its <title> and its <desc>.
"""

from api.dashboard.charts.bars import bar
from api.dashboard.charts.calibration import CalibrationGroup, calibration
from api.dashboard.charts.lines import Band, ChartPoint, Mark, line
from api.dashboard.charts.sparks import spark
from api.dashboard.charts.stacks import Layer, legend, stacked

__all__ = [
    "Band",
    "CalibrationGroup",
    "ChartPoint",
    "Layer",
    "Mark",
    "bar",
    "calibration",
    "legend",
    "line",
    "spark",
    "stacked",
]
