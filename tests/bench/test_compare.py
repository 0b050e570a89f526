from tests.bench.compare import compare_figures, gather
from tests.bench.measure import Line


def test_ratios_are_medians_of_rounds_that_ran_one_after_the_other() -> None:
    """A machine that is slow for one round is slow for both."""
    ours = gather(iter([[Line("a", value, "events/s")] for value in (100, 10, 200)]))
    theirs = gather(iter([[Line("a", value, "events/s")] for value in (50, 5, 400)]))
    assert compare_figures(ours, theirs, "main").splitlines()[1].split() == ["a,", "events/s", "100", "50.0", "2.00"]


def test_a_line_below_another_is_named_with_it() -> None:
    """And what has a baseline has a ratio to it as well."""
    lines = [Line("a", 1, "x"), Line("  CPU", 2, "µs"), Line("b", 3, "x"), Line("  CPU", 4, "µs", 8)]
    assert gather(iter([lines])) == {
        "a, x": [1], "a: CPU, µs": [2], "b, x": [3], "b: CPU, µs": [4], "b: CPU, of baseline": [0.5]
    }  # fmt: skip


def test_a_figure_that_the_other_commit_does_not_have_is_left_out() -> None:
    assert len(compare_figures({"a": [1.0], "b": [1.0]}, {"a": [2.0]}, "main").splitlines()) == 2
