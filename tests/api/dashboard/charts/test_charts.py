"""Charts: well-formed for whatever data, and true to it."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some
from markupsafe import Markup

from api.dashboard.charts import (
    Band,
    CalibrationGroup,
    ChartPoint,
    Layer,
    Mark,
    bar,
    calibration,
    legend,
    line,
    spark,
    stacked,
)
from api.dashboard.charts.scales import compact, day_name, day_ticks, ticks
from api.dashboard.filters import day as day_on_page
from scoring import facts

START = datetime(2026, 3, 1, tzinfo=UTC)
numbers = some.floats(allow_nan=True, allow_infinity=True)
counts = some.integers(0, 10**12)
shares = some.floats(0, 1)
texts = some.text(max_size=40) | some.sampled_from(
    ['<script>alert("x")</script>', "\0\x1b", "\u202emoc", "a&b'\"", "\ud800"]
)
instants = some.floats(946684800, 1893456000).map(lambda at: datetime.fromtimestamp(at, UTC))


def parsed(drawn: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(drawn))


def paths(drawn: Markup, class_: str) -> list[str]:
    return [one.attrib["d"] for one in parsed(drawn).iter("path") if one.attrib.get("class") == class_]


def told(drawn: Markup) -> str:
    return parsed(drawn).findtext("desc") or ""


def days(number: int) -> list[date]:
    return [START.date() + timedelta(days=k) for k in range(number)]


@given(texts, some.lists(some.tuples(counts, counts), max_size=40))
def test_columns_are_well_formed_for_any_counts(name: str, values: list[tuple[int, int]]) -> None:
    series = [Layer(name, "fill-low", [a for a, _ in values]), Layer("B", "fill-high", [b for _, b in values])]
    drawn = stacked(name, days(len(values)), series)
    assert parsed(drawn).attrib["role"] == "img"
    parsed(legend(series))
    for path in (*paths(drawn, "fill-low"), *paths(drawn, "fill-high")):
        tops = [float(up) for up in re.findall(r"v(-[\d.]+)h", path)]
        assert all(-200 <= top < 0 for top in tops)


@given(texts, some.lists(some.builds(ChartPoint, instants, numbers, some.booleans()), max_size=60), texts)
def test_a_line_is_well_formed_for_any_points(title: str, points: list[ChartPoint], text: str) -> None:
    between = (START - timedelta(days=3000), START + timedelta(days=400))
    marks = [Mark(point.at, text) for point in points[:5]]
    drawn = line(title, sorted(points), between=between, marks=marks, bands=[Band(50, text, "fill-low")])
    assert "nan" not in str(drawn).split("<desc>")[1].split("</desc>")[1]
    assert parsed(drawn).findtext("title") is not None


@given(texts, some.lists(numbers, max_size=40))
def test_a_sparkline_is_well_formed_for_any_values(title: str, values: list[float]) -> None:
    parsed(spark(title, values))


@given(numbers, numbers, numbers)
def test_a_bar_is_well_formed_for_any_values(value: float, least: float, most: float) -> None:
    parsed(bar(value, least, most))


@given(texts, some.lists(some.builds(CalibrationGroup, some.integers(1, 10**9), shares, shares), max_size=12))
def test_calibration_is_well_formed_for_any_groups(title: str, groups: list[CalibrationGroup]) -> None:
    drawn = calibration(title, groups)
    assert len(list(parsed(drawn).iter("circle"))) == len(groups)


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></svg>"])
def test_words_are_never_markup(hostile: str) -> None:
    drawn = [
        stacked(hostile, days(1), [Layer(hostile, "fill-low", [1])]),
        legend([Layer(hostile, "fill-low", [1])]),
        spark(hostile, [1]),
        line(hostile, [], between=(START, START), marks=[Mark(START, hostile)], bands=[Band(1, hostile, "fill-low")]),
        calibration(hostile, []),
    ]
    for chart in drawn:
        assert hostile not in str(chart)
        assert hostile in "".join(parsed(chart).itertext())


def test_columns_stand_on_each_other() -> None:
    drawn = stacked("Levels", days(2), [Layer("Low", "fill-low", [3, 0]), Layer("High", "fill-high", [1, 4])])
    (low,), (high,) = paths(drawn, "fill-low"), paths(drawn, "fill-high")
    assert low == "M50 164v-123h400V164z"
    assert high == "M50 41v-41h400V41zM550 164v-164h400V164z"
    assert told(drawn) == "2 days. 1 Mar: 1 high, 3 low. 2 Mar: 4 high, 0 low."


def test_nothing_is_said_to_be_nothing() -> None:
    between = (START, START + timedelta(days=30))
    assert {told(stacked("t", [], [])), told(line("t", [], between=between)), told(calibration("t", []))} == {
        "No data in this period."
    }


def test_days_without_anything_say_so() -> None:
    drawn = stacked("t", days(3), [Layer("Low", "fill-low", [0, 0, 0])])
    assert [one.text for one in parsed(drawn).iter("text")][-1] == "No data in this period"
    assert "Nothing" not in str(stacked("t", days(3), [Layer("Low", "fill-low", [0, 0, 1])]))


def test_one_point_is_a_dot_and_no_line() -> None:
    drawn = line("Risk", [ChartPoint(START, 40)], between=(START - timedelta(days=1), START))
    assert told(drawn) == "1 Mar: 40."
    assert [dict(dot.attrib)["cx"] for dot in parsed(drawn).iter("circle")] == ["100%"]
    assert not paths(drawn, "stroke")


def test_what_was_computed_later_is_dashed_up_to_what_was_said() -> None:
    points = [ChartPoint(START + timedelta(days=k), 10.0 * k, rebuilt=k < 2) for k in range(4)]
    drawn = line("Risk", points, between=(START, START + timedelta(days=4)))
    assert paths(drawn, "stroke rebuilt") == ["M0 204L250 183.6L500 163.2"]
    assert paths(drawn, "stroke") == ["M500 163.2L750 142.8"]


def test_many_points_keep_their_peaks_and_their_weight() -> None:
    points = [ChartPoint(START + timedelta(hours=k), 90.0 if k == 4321 else k % 7) for k in range(10_000)]
    drawn = line("Risk", points, between=(START, START + timedelta(hours=10_000)))
    assert "highest on 28 Aug: 90" in told(drawn)
    assert len(drawn) < 60_000


def test_marks_outside_of_the_time_shown_are_left_out() -> None:
    marks = [Mark(START + timedelta(days=k), f"Mark {k}", "mark-up") for k in (-1, 1)]
    drawn = line("Risk", [], between=(START, START + timedelta(days=2)), marks=marks)
    titles = [one.findtext("title") for one in parsed(drawn).iter("g")]
    assert titles == ["Mark 1"]


def test_bars_go_to_both_sides_of_zero() -> None:
    (up,), (down,) = (list(parsed(bar(value, -10, 30)).iter("rect")) for value in (30, -5))
    assert (up.attrib["x"], up.attrib["width"], up.attrib["class"]) == ("25%", "75%", "fill-up")
    assert (down.attrib["x"], down.attrib["width"], down.attrib["class"]) == ("12.5%", "12.5%", "fill-down")


def test_a_perfect_group_lies_on_the_diagonal() -> None:
    drawn = parsed(calibration("Calibration", [CalibrationGroup(100, 0.5, 0.5), CalibrationGroup(25, 1.0, 1.0)]))
    dots = [(dot.attrib["cx"], dot.attrib["cy"], dot.attrib["r"]) for dot in drawn.iter("circle")]
    assert dots == [("50%", "128", "9"), ("100%", "14", "4.5")]


@given(some.floats(1e-6, 1e15))
def test_ticks_are_few_and_reach_the_greatest(most: float) -> None:
    marks = ticks(most)
    assert marks[0] == 0
    assert marks[-1] >= most * (1 - 1e-6)
    assert len(marks) <= 6


@pytest.mark.parametrize(
    ("most", "expected"), [(0, [0, 1]), (1, [0, 0.5, 1]), (7, [0, 2, 4, 6, 8]), (90, [0, 25, 50, 75, 100])]
)
def test_ticks_are_round(most: float, expected: list[float]) -> None:
    assert ticks(most) == expected


@given(instants, instants)
def test_dates_lie_within_and_in_order(first: datetime, other: datetime) -> None:
    since, until = sorted((first, other))
    places: list[Any] = [x for x, _ in day_ticks(since, until)]
    assert places == sorted(places)
    assert len(places) <= 7
    assert all(0 <= x <= 1 for x in places)


@pytest.mark.parametrize("month", range(1, 13))
def test_a_day_is_written_alike_in_charts_pages_and_reasons(month: int) -> None:
    at = datetime(2026, month, 5, tzinfo=UTC)
    text = day_name(at.date(), date(2025, 1, 1))
    assert text == facts.date(at.timestamp(), START.timestamp() - 365 * 86400)
    assert f">{text}</time>" in str(day_on_page(at)).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(("value", "text"), {0: "0", 0.25: "0.25", 999: "999", 1000: "1k", 12_345: "12.3k"}.items())
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert compact(value) == text
