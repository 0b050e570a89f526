"""The page of the model: its weights, its training data, and how good its scores were."""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.charts import CalibrationGroup, ChartPoint, bar, calibration, line
from api.dashboard.page import page, render
from api.dashboard.session import Session
from api.dashboard.weights import describe_effects
from api.reading.common import fetch
from api.reading.model import ModelInUse, Quality, read_model
from api.reading.track_record import read_details, read_track_record
from scoring.learning.metrics import Metrics
from scoring.learning.training import CHALLENGE, CHALLENGE_CUSTOMERS, TRY_MAP, TRY_RECALIBRATED
from workers.accounts.models import Card, name_of
from workers.store import sql

KINDS = {
    "prior": "The formula that works from day one. It has not learnt from your own customers yet.",
    "early": "The day-one formula, adjusted to how long your own customers stay silent.",
    "recalibrated": "The day-one formula, calibrated to the churn rate of your own customers.",
    "map": "A regression learnt from your own customers. It starts from the day-one formula.",
    "additive": "A regression with non-linear effects, learnt from your own customers. It starts from the formula.",
}
MATURED_DAYS = 365
VERSIONS = 50


class LearningStage(NamedTuple):
    """A step of the learning, and the number of departures it needs."""

    lapses: int
    words: str


STAGES = (
    LearningStage(TRY_RECALIBRATED, "Calibrated to your churn rate"),
    LearningStage(TRY_MAP, "Own weights for every signal, and custom events"),
    LearningStage(CHALLENGE, f"Non-linear effects (also needs {CHALLENGE_CUSTOMERS:,} customers)"),
)


class Version(NamedTuple):
    """A trained model, and its result on the holdout."""

    name: str
    kind: str
    created_at: datetime
    in_use: bool
    lapses: int
    holdout: Metrics | None


class MaturedDay(NamedTuple):
    """The outcome of the scores of a day."""

    day: datetime
    metrics: Metrics


@page
async def show_model(request: Request, session: Session) -> Response:
    """`GET /model`."""
    model = await read_model(request, session.account_id)
    matured = await _list_matured(request, session.account_id)
    effects = describe_effects(model.weights, model.horizon_days)
    return render(
        request,
        "model.html",
        session,
        model=model,
        kind=KINDS.get(model.kind, model.kind),
        decision=_describe_decision(model),
        stages=STAGES,
        lapses=model.last_training.lapses if model.last_training else 0,
        certain=[effect for effect in effects if effect.matters],
        uncertain=[effect for effect in effects if not effect.matters],
        least=min((effect.log_odds for effect in effects), default=0.0),
        most=max((effect.log_odds for effect in effects), default=0.0),
        bar=bar,
        evaluation=_evaluate(model),
        over_time=_draw_auc(matured),
        matured=matured[::-1],
        track_record=await read_track_record(request, session.account_id),
        details=await read_details(request, session.account_id),
        horizon_days=model.horizon_days,
        versions=await _list_versions(request, session.account),
    )


class Evaluation(NamedTuple):
    """The best evidence: matured scores of real customers if there are any, else the holdout."""

    quality: Quality
    matured: bool
    plot: Markup


def _evaluate(model: ModelInUse) -> Evaluation | None:
    quality = model.matured or model.holdout
    if quality is None:
        return None
    groups = [CalibrationGroup(tenth.customers, tenth.predicted, tenth.actual) for tenth in quality.calibration]
    return Evaluation(quality, model.matured is not None, calibration("Predicted and actual churn", groups, 380))


def _describe_decision(model: ModelInUse) -> str:
    """The result of the last training, for people."""
    training = model.last_training
    if training is None:
        return ""
    if training.at == model.created_at:
        return "The new model predicted better on the holdout, so it is in use now."
    if not training.snapshots:
        return f"No customer was active {model.horizon_days} days before, so there was nothing to learn from."
    if training.lapses < TRY_RECALIBRATED:
        return "Too few customers have left to learn from them, so the model stays."
    return "Its candidates were no better than the model in use, so the model stays."


async def _list_matured(request: Request, account_id: int) -> list[MaturedDay]:
    parameters = {"account_id": account_id, "limit": MATURED_DAYS}
    rows = await fetch(request, sql("list_matured"), parameters)
    return [MaturedDay(row["day"], msgspec.json.decode(row["metrics"], type=Metrics)) for row in rows]


def _draw_auc(matured: list[MaturedDay]) -> Markup | None:
    points = [ChartPoint(past.day, past.metrics.auc) for past in matured if past.metrics.auc is not None]
    if not points:
        return None
    since = min(points[0].at, points[-1].at - timedelta(days=30))
    return line(
        "How well scores ranked customers (AUC), by the day of the scores",
        points,
        between=(since, max(points[-1].at, since + timedelta(days=30))),
        values=(0.5, 1.0),
        grid=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        say=lambda value: f"{value:.2f}",
    )


async def _list_versions(request: Request, account: str) -> list[Version]:
    """The latest first."""
    rows = await fetch(request, sql("list_models"), {"name": account})
    cards = [(row, msgspec.json.decode(row["card"], type=Card)) for row in rows[: -VERSIONS - 1 : -1]]
    return [
        Version(
            name_of(row["kind"], row["version"]),
            row["kind"],
            row["created_at"],
            row["in_use"],
            card.lapses,
            card.holdout.get(row["kind"]),
        )
        for row, card in cards
    ]
