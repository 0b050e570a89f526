"""The page of the model: what it weighs, what it was learnt from, and how far it can be believed."""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.charts import Group, Point, bar, calibration, line
from api.dashboard.page import page, render
from api.dashboard.session import Session
from api.dashboard.weights import effects_of
from api.reading.common import fetch
from api.reading.model import ModelInUse, Quality, read_model
from scoring.learning.metrics import Metrics
from scoring.learning.training import CHALLENGE, CHALLENGE_CUSTOMERS, RECALIBRATE, REGRESS
from workers.accounts.models import Card, name_of
from workers.store import sql

KINDS = {
    "prior": "The day-one formula. Nothing is learnt from your own customers yet.",
    "recalibrated": "The day-one formula, its level and steepness learnt from your own customers.",
    "map": "A regression learnt from your own customers, held close to the day-one formula.",
    "additive": "A piecewise regression learnt from your own customers, held close to the day-one formula.",
}
MATURED_DAYS = 365
VERSIONS = 50
MATTERS = 0.1  # log-odds: a tenth more or less


class Stage(NamedTuple):
    """What is learnt from so many customers who left."""

    lapses: int
    words: str


STAGES = (
    Stage(RECALIBRATE, "Level and steepness of the formula fit your customers"),
    Stage(REGRESS, "Every signal gets a weight of your own, and custom events may enter"),
    Stage(CHALLENGE, f"Weights may bend (with {CHALLENGE_CUSTOMERS:,} customers or more)"),
)


class Version(NamedTuple):
    """A model of the past, and how it did on what came after its training."""

    name: str
    kind: str
    created_at: datetime
    in_use: bool
    lapses: int
    holdout: Metrics | None


class MaturedDay(NamedTuple):
    """How the scores of a day turned out."""

    day: datetime
    metrics: Metrics


@page
async def show_model(request: Request, session: Session) -> Response:
    """`GET /model`."""
    model = await read_model(request, session.account_id)
    matured = await _matured(request, session.account_id)
    effects = effects_of(model.weights, model.horizon_days)
    return render(
        request,
        "model.html",
        session,
        model=model,
        kind=KINDS.get(model.kind, model.kind),
        stages=STAGES,
        lapses=model.last_training.lapses if model.last_training else 0,
        large=[one for one in effects if abs(one.log_odds) >= MATTERS],
        small=[one for one in effects if abs(one.log_odds) < MATTERS],
        least=min((one.log_odds for one in effects), default=0.0),
        most=max((one.log_odds for one in effects), default=0.0),
        bar=bar,
        judged=_judged(model),
        over_time=_over_time(matured),
        matured=matured[::-1],
        versions=await _versions(request, session.account),
    )


class Judged(NamedTuple):
    """The figures to believe: of scores that were really given, where there are any, else of the holdout."""

    quality: Quality
    really_given: bool
    plot: Markup


def _judged(model: ModelInUse) -> Judged | None:
    quality = model.matured or model.holdout
    if quality is None:
        return None
    groups = [Group(one.customers, one.said, one.happened) for one in quality.calibration]
    return Judged(quality, model.matured is not None, calibration("What was said, and what happened", groups, 380))


async def _matured(request: Request, account_id: int) -> list[MaturedDay]:
    parameters = {"account_id": account_id, "limit": MATURED_DAYS}
    rows = await fetch(request, sql("list_matured"), parameters)
    return [MaturedDay(row["day"], msgspec.json.decode(row["metrics"], type=Metrics)) for row in rows]


def _over_time(matured: list[MaturedDay]) -> Markup | None:
    points = [Point(one.day, one.metrics.auc) for one in matured if one.metrics.auc is not None]
    if not points:
        return None
    since = min(points[0].at, points[-1].at - timedelta(days=30))
    return line(
        "How well scores ranked who left (AUC), by the day they were given",
        points,
        between=(since, max(points[-1].at, since + timedelta(days=30))),
        values=(0.5, 1.0),
        grid=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        say=lambda value: f"{value:.2f}",
    )


async def _versions(request: Request, account: str) -> list[Version]:
    """The latest first."""
    rows = await fetch(request, sql("list_models"), {"name": account})
    found = [(row, msgspec.json.decode(row["card"], type=Card)) for row in rows[: -VERSIONS - 1 : -1]]
    return [
        Version(
            name_of(row["kind"], row["version"]),
            row["kind"],
            row["created_at"],
            row["in_use"],
            card.lapses,
            card.holdout.get(row["kind"]),
        )
        for row, card in found
    ]
