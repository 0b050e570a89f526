"""The quality of the scores, in one line."""

from typing import NamedTuple

from api.dashboard.filters import count, number, percent
from api.reading.model import ModelInUse, Quality


class AccuracyLine(NamedTuple):
    """The line: its title, and the figures behind it."""

    title: str
    text: str


def describe_accuracy(model: ModelInUse) -> AccuracyLine:
    """The outcome of the scores of a horizon ago; else the result on the holdout; else when it will be known."""
    days = model.horizon_days
    if model.matured:
        matured = model.matured
        customers = count(matured.snapshots, "customer")
        text = f"Of {customers} scored on {matured.day:%-d %b}, {_describe_calibration(matured)}"
        return AccuracyLine(_describe_ranking(matured), text)
    if model.holdout:
        text = f"Tested on {count(model.holdout.snapshots, 'past situation')} kept out of the training: "
        return AccuracyLine(_describe_ranking(model.holdout), text + _describe_calibration(model.holdout))
    return AccuracyLine(
        "Scores are not checked yet",
        f"We can only check a score after {days} days. Until then use it to rank customers, not as exact odds.",
    )


def _describe_ranking(quality: Quality) -> str:
    if quality.lift is None or quality.auc is None:
        return "Nothing to rank yet: either nobody left, or everybody did"
    grade = "well" if quality.auc >= 0.8 else "fairly well" if quality.auc >= 0.7 else "poorly"
    return f"Scores ranked customers {grade}: the riskiest tenth left {quality.lift:.1f} times as often as the average"


def _describe_calibration(quality: Quality) -> str:
    expected = sum(group.customers * group.predicted for group in quality.calibration) / quality.snapshots
    return (
        f"{percent(expected)} were expected to leave and {percent(quality.base_rate)} did ({number(quality.lapses)})."
    )
