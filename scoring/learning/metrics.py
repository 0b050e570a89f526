"""Measures of predicted probabilities against actual outcomes.

All functions take `lapsed` (0 or 1) and `probability` (0 to 1), arrays of one length.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.rollup import Floats

Labels = NDArray[np.int8]
BINS = 10


class Bin(msgspec.Struct, frozen=True, rename={"predicted": "said", "actual": "happened"}):
    """A tenth of the customers, by probability: predicted and actual churn. The JSON keeps its first names."""

    customers: int
    predicted: float
    actual: float


class Metrics(msgspec.Struct, frozen=True):
    """Ranking (auc, pr_auc, lift), accuracy (brier, log_loss) and calibration (ece, bins); None where undefined."""

    snapshots: int
    lapses: int
    base_rate: float
    auc: float | None
    pr_auc: float | None
    lift: float | None
    brier: float
    log_loss: float
    ece: float
    bins: list[Bin]


def metrics_of(lapsed: Labels, probability: Floats) -> Metrics:
    """Everything at once. Raises ValueError for no snapshots at all."""
    if not len(lapsed):
        raise ValueError("there is nothing to measure: no snapshot has an outcome")
    lapses, both = int(lapsed.sum()), 0 < lapsed.sum() < len(lapsed)
    bins = calibration(lapsed, probability)
    return Metrics(
        snapshots=len(lapsed),
        lapses=lapses,
        base_rate=lapses / len(lapsed),
        auc=auc(lapsed, probability) if both else None,
        pr_auc=pr_auc(lapsed, probability) if both else None,
        lift=lift(lapsed, probability) if both else None,
        brier=float(((probability - lapsed) ** 2).mean()),
        log_loss=log_loss(lapsed, probability),
        ece=sum(b.customers * abs(b.predicted - b.actual) for b in bins) / len(lapsed),
        bins=bins,
    )


def auc(lapsed: Labels, probability: Floats) -> float:
    """The chance that a customer who lapsed was ranked above one who did not; ties count half."""
    _, rank, count = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    lapses = int(lapsed.sum())
    above = middle[rank][lapsed == 1].sum() - lapses * (lapses + 1) / 2
    return float(above / (lapses * (len(lapsed) - lapses)))


def pr_auc(lapsed: Labels, probability: Floats) -> float:
    """Average precision: the mean precision over all lapses, those tied in probability taken together."""
    levels, rank = np.unique(-probability, return_inverse=True)
    hits = np.bincount(rank, lapsed, len(levels))
    precision = np.cumsum(hits) / np.cumsum(np.bincount(rank, minlength=len(levels)))
    return float((precision * hits).sum() / lapsed.sum())


def lift(lapsed: Labels, probability: Floats) -> float:
    """Returns the share of lapsed customers in the tenth at the highest risk, over the base rate; ties at the edge
    count in part."""
    size = max(1, round(len(lapsed) / BINS))
    edge = np.sort(probability)[-size]
    above, at_edge = probability > edge, probability == edge
    hits = lapsed[above].sum() + (size - above.sum()) * lapsed[at_edge].mean()
    return float(hits / size / lapsed.mean())


def reach(month: NDArray[Any], lapsed: Labels, probability: Floats) -> tuple[int, int]:
    """(customers written to, those of them who lapsed), had the riskiest tenth of each month got a message."""
    written, lost = 0, 0
    for each in np.unique(month):
        rows = np.flatnonzero(month == each)
        riskiest = rows[np.argsort(-probability[rows], kind="stable")[: max(1, round(len(rows) / BINS))]]
        written, lost = written + len(riskiest), lost + int(lapsed[riskiest].sum())
    return written, lost


def log_loss(lapsed: Labels, probability: Floats) -> float:
    """Mean negative log-likelihood, in nats; certainties are held at one in a billion."""
    p = np.clip(probability, 1e-9, 1 - 1e-9)
    return float(-np.where(lapsed == 1, np.log(p), np.log1p(-p)).mean())


def calibration(lapsed: Labels, probability: Floats) -> list[Bin]:
    """Ten groups of equal size by probability, the lowest first; ties fall by lot, always the same one."""
    lot = np.random.default_rng(0).permutation(len(lapsed))
    order: NDArray[Any] = np.lexsort((lot, probability))
    groups = (group for group in np.array_split(order, BINS) if len(group))
    return [Bin(len(group), float(probability[group].mean()), float(lapsed[group].mean())) for group in groups]
