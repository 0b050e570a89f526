"""The model in use: its weights, its training data, and its quality."""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.reading.common import Count, Time, account_of, answer, fetch
from api.reading.query import accepts
from scoring.features import signal_of
from scoring.learning.metrics import Bin, Metrics
from scoring.model import PRIOR, Model
from workers.accounts.models import Card
from workers.accounts.registry import resolve_horizon
from workers.store import sql

Share = Annotated[float, Meta(ge=0, le=1)]


class Weight(Struct):
    """The log-odds that a feature adds: weights[0] · x + Σ weights[k] · max(0, x - knots[k - 1]) - offset.

    `covariance` is that of the slopes between the knots, where they were learnt from customers; else `null`.
    """

    feature: str
    signal: str
    weights: list[float]
    knots: list[float]
    offset: float
    covariance: list[list[float]] | None


class TrainedOn(Struct):
    """The training data of a model: past situations (snapshots) of active customers, and the outcome of each."""

    horizon_days: int
    since: Time | None
    until: Time | None
    customers: Count
    snapshots: Count
    lapses: Count


class Quality(Struct):
    """The quality of probabilities. Ranking is `null` where all or none lapsed. `brier_of_base_rate` is the Brier score
    of giving everybody the base rate; `calibration` has tenths of the customers, by risk."""

    snapshots: Count
    lapses: Count
    base_rate: Share
    auc: Share | None
    pr_auc: Share | None
    lift: float | None
    brier: Share
    brier_of_base_rate: Share
    log_loss: float
    ece: Share
    calibration: list[Bin]


class Matured(Quality):
    """The quality of the scores of a day, now that its horizon is over: predicted and actual churn."""

    day: date
    horizon_days: int


class LastTraining(Struct):
    """The last training and its decision."""

    at: Time
    decision: str
    customers: Count
    snapshots: Count
    lapses: Count


class ModelInUse(Struct):
    """The model in use. For the day-one formula, `version` and everything about training is `null`. `from_demo` is true
    if it learnt from the simulated company of `windback demo`: it is put aside once there are other customers."""

    name: str
    version: int | None
    kind: str
    horizon_days: int
    created_at: Time | None
    baseline: float
    weights: list[Weight]
    trained_on: TrainedOn | None
    holdout: Quality | None
    holdout_before: Quality | None
    last_training: LastTraining | None
    matured: Matured | None
    from_demo: bool


@accepts()
async def show_model(request: Request) -> Response:
    """`GET /api/v1/model`: the model in use, and its quality."""
    return answer(await read_model(request, await account_of(request)))


async def read_model(request: Request, account_id: int) -> ModelInUse:
    """An account's model in use."""
    (row,) = await fetch(request, sql("show_model"), {"account_id": account_id}) or [{}]
    model, card = PRIOR, None
    if row["weights"] is not None:
        model, card = msgspec.json.decode(row["weights"], type=Model), msgspec.json.decode(row["card"], type=Card)
    return ModelInUse(
        name=model.version,
        version=row["version"],
        kind=model.kind,
        horizon_days=resolve_horizon(
            row["horizon_chosen"], request.app.state.settings.horizon_days, row["horizon_learnt"]
        ),
        created_at=row["created_at"],
        baseline=model.baseline,
        weights=list_weights(model, card),
        trained_on=_describe_training_data(card) if card else None,
        holdout=_describe_quality(card.holdout.get(model.kind)) if card else None,
        holdout_before=_describe_quality(card.holdout.get("in use")) if card else None,
        last_training=_describe_last_training(row["trained_at"], row["training"]),
        matured=_describe_matured(row),
        from_demo=card is not None and card.demo,
    )


def list_weights(model: Model, card: Card | None = None) -> list[Weight]:
    """The terms of a model; `card` is that of its training."""
    covariances = card.covariances if card and card.chosen == model.version else {}
    return [
        Weight(
            term.feature,
            signal_of(term.feature),
            list(term.weights),
            list(term.knots),
            term.offset,
            covariances.get(term.feature),
        )
        for term in model.terms
    ]


def _describe_training_data(card: Card) -> TrainedOn:
    return TrainedOn(card.horizon_days, card.since, card.until, card.customers, card.snapshots, card.lapses)


def _describe_last_training(at: datetime | None, training: str | None) -> LastTraining | None:
    if at is None or training is None:
        return None
    card = msgspec.json.decode(training, type=Card)
    return LastTraining(at, card.why, card.customers, card.snapshots, card.lapses)


def _describe_quality(metrics: Metrics | None) -> Quality | None:
    return Quality(**_list_figures(metrics)) if metrics else None


def _describe_matured(row: dict[str, Any]) -> Matured | None:
    if row["matured"] is None:
        return None
    figures = _list_figures(msgspec.json.decode(row["matured"], type=Metrics))
    return Matured(**figures, day=row["day"], horizon_days=row["matured_horizon_days"])


def _list_figures(metrics: Metrics) -> dict[str, Any]:
    figures = msgspec.structs.asdict(metrics)
    return {
        **{name: figure for name, figure in figures.items() if name != "bins"},
        "brier_of_base_rate": metrics.base_rate * (1 - metrics.base_rate),
        "calibration": metrics.bins,
    }
