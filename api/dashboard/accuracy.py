"""How good the scores were, in one line."""

from typing import NamedTuple

from api.dashboard.filters import count, number, percent
from api.reading.model import ModelInUse, Quality


class Said(NamedTuple):
    """The line: its beginning, and what it rests on."""

    title: str
    text: str


def honesty(model: ModelInUse) -> Said:
    """What became of the scores of a horizon ago; or else how the model did on what it had not seen; or else what it
    takes to know."""
    days = model.horizon_days
    if model.matured:
        matured = model.matured
        text = f"Of {count(matured.snapshots, 'customer')} scored on {matured.day:%-d %b}, {_calibrated(matured)}"
        return Said(_ranked(matured), text)
    if model.holdout:
        text = f"Tried on {count(model.holdout.snapshots, 'case')} of later months that it had not seen: "
        return Said(_ranked(model.holdout), text + _calibrated(model.holdout))
    wait = f"A score is a statement about the next {days} days: how good it was is known {days} days later. "
    return Said(
        "Too early to say how good the scores are", wait + "Until then, read them as an order, not as a promise."
    )


def _ranked(quality: Quality) -> str:
    if quality.lift is None or quality.auc is None:
        return "Nobody left, or everybody did: nothing to rank yet"
    worth = "well" if quality.auc >= 0.8 else "fairly" if quality.auc >= 0.7 else "poorly"
    return f"Scores ranked {worth}: the riskiest tenth left {quality.lift:.1f} times as often as the average"


def _calibrated(quality: Quality) -> str:
    said = sum(one.customers * one.said for one in quality.calibration) / quality.snapshots
    return f"{percent(said)} were expected to leave and {percent(quality.base_rate)} did ({number(quality.lapses)})."
