"""Models from samples: the day-one formula recalibrated, or a regression shrunk to it.

Every fit holds the signs that keep the risk from falling in silence, and keeps the risk additive in the log-odds.
Regressions need no further calibration: an isotonic step on top, fitted out of fold, was tried on a real log and three
simulated ones. It moved the log loss by less than .001 either way, and cost .001 to .002 AUC.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from scoring import features
from scoring.feature_use import PLAN, USES
from scoring.features import BACK_BY, SEASON, VISITS, WAITS
from scoring.history import EVENT, PAID
from scoring.learning.logistic import Priors, fit_logistic
from scoring.learning.samples import Sample
from scoring.model import PRIOR, Model, Term, logit
from scoring.rollup import Floats

SD: Final = 0.3  # of standardised coefficients, around the formula's own where it has one
SD_CUSTOM: Final = 0.1  # of custom events, plans and single product features
SD_SEASON: Final = 0.2
_SLOW: Final = {"due": 0.1, BACK_BY: 0.25}  # by term, the share of slow customers from which on it is learnt
SD_FORMULA: Final = 0.5  # of the formula's terms, per log-odds
SD_SLOPE: Final = 0.3  # of the slope of a recalibration, around 1

_KNOTS: Final = {  # quantiles
    "activity": (0.5, 0.75, 0.9),
    "silence": (0.5, 0.8, 0.95),
    "lateness": (0.2, 0.5, 0.8, 0.95),
    "newcomer": (0.33, 0.67),
    "beyond": (0.2, 0.5, 0.8, 0.95),
    "frequency": (0.25, 0.5, 0.75),
    "signs": (0.25, 0.5, 0.75),
    "signs_cadence": (0.25, 0.5, 0.75),
    "due": (0.2, 0.5, 0.8),  # of those that are slow
    BACK_BY: (0.2, 0.5, 0.8),
    "since_renewal": (0.5, 0.8, 0.9, 0.95),
    "since_payment": (0.5, 0.8, 0.9, 0.95),
    SEASON: tuple(np.arange(1, 12) / 12),
    "trend": (0.25, 0.5, 0.75),
    "cadence": (0.2, 0.4, 0.6, 0.8),
    "tenure": (0.33, 0.67),
}
_BENT: Final = ("silence", "lateness", "beyond", *_SLOW, *WAITS, SEASON)
"""No line fits these: a silence within the own rhythm says nothing, nor does the middle of a term."""
_FORMULA: Final = ("activity", "silence")
_CENTERED: Final = (
    "activity",
    "frequency",
    "signs",
    *_SLOW,
    "tenure",
    "cadence",
    "session",
    *WAITS,
    SEASON,
    USES,
    PLAN,
)  # explained against the mean
_WEIGHTS: Final = {term.feature: term.weights[0] for term in PRIOR.terms}


def recalibrate(sample: Sample, model: Model, version: str) -> Model:
    """The same model with a new intercept and slope. The sample needs a lapse and a customer who stayed."""
    p = np.clip(sample.probability(model), 1e-12, 1 - 1e-12)
    total = np.log(p) - np.log1p(-p) - model.baseline
    priors = Priors(np.ones(1), np.full(1, SD_SLOPE), np.ones(1, np.int8))
    intercept, (slope,) = fit_logistic(total[:, None], sample.lapsed, priors)
    terms = [
        Term(
            term.feature,
            tuple(weight * float(slope) for weight in term.weights),
            term.knots,
            term.offset * float(slope),
        )
        for term in model.terms
    ]
    if PAID in sample.columns and PAID not in model.features:
        terms.append(Term(PAID, (0.0,)))  # as learnt, for payments that count as use
    return at_base_rate(Model(version, "recalibrated", intercept, tuple(terms)), float(sample.lapsed.mean()))


def fit_regression(sample: Sample, names: Iterable[str], version: str, additive: bool = False) -> Model:
    """MAP logistic regression on the features named: as lines but for silence, or as piecewise lines where `additive`.

    The sample needs a lapse and a customer who stayed. Raises KeyError for a feature that the sample lacks.
    """
    names = [name for name in names if name not in _SLOW or _are_slow(sample, name)]
    values = sample.select(names).T
    knots = [_knots(name, x) if additive or name in _BENT else () for name, x in zip(names, values, strict=True)]
    pieces = [pieces_of(x, at) for x, at in zip(values, knots, strict=True)]
    x = np.column_stack([column for part in pieces for column in part])
    mean, sd = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    owners = [name for name, part in zip(names, pieces, strict=True) for _ in part]
    x -= mean
    x /= sd
    intercept, coefficients = fit_logistic(x, sample.lapsed, _priors(owners, sd))
    slopes, terms = iter((coefficients / sd).tolist()), []
    for name, part, column, at in zip(names, pieces, values, knots, strict=True):
        steps = [next(slopes) for _ in part]
        weights = [steps[0], *np.diff(steps).tolist()]
        line = Term(name, tuple(weights), at)
        offset = line.at(column).mean() if name.startswith(_CENTERED) else line.at(np.zeros(1))[0]
        terms.append(msgspec.structs.replace(line, offset=float(offset)))
    shift = sum(float(term.at(column).mean()) for term, column in zip(terms, values, strict=True))
    kept = tuple(term for term in terms if any(term.weights))
    model = Model(version, "additive" if additive else "map", intercept - shift, kept)
    return at_base_rate(model, float(sample.lapsed.mean()))


def _are_slow(sample: Sample, name: str) -> bool:
    """True if enough customers are slow for the horizon: the few of another account would be learnt by heart."""
    return float((sample.select([name]) < VISITS).mean()) >= _SLOW[name]


def _knots(name: str, x: Floats) -> tuple[float, ...]:
    bending = x[x < VISITS] if name in _SLOW else x
    inner = np.unique(np.quantile(bending, _KNOTS.get(name, ())))
    return tuple(float(knot) for knot in inner if x.min() < knot < x.max())


def pieces_of(x: Floats, knots: tuple[float, ...]) -> list[Floats]:
    """x split at its knots into columns that add up to it, so that a coefficient is the slope of one stretch."""
    edges = [-np.inf, *knots, np.inf]
    return [np.asarray(np.clip(x, low, high) - (low if np.isfinite(low) else 0.0)) for low, high in pairwise(edges)]


def _priors(owners: list[str], sd: Floats) -> Priors:
    return Priors(
        mean=np.array([_WEIGHTS.get(name, 0.0) for name in owners]) * sd,
        sd=np.array([prior_sd(name, spread) for name, spread in zip(owners, sd.tolist(), strict=True)]),
        sign=np.array([_sign(name) for name in owners], dtype=np.int8),
    )


def prior_sd(name: str, spread: float) -> float:
    """The standard deviation of the prior of a standardised coefficient; `spread` is that of its column."""
    if name in _FORMULA:
        return SD_FORMULA * max(spread, 1e-3)
    if name == SEASON:
        return SD_SEASON
    return SD_CUSTOM if name.startswith((USES, PLAN, EVENT)) else SD


def _sign(name: str) -> int:
    if name in features.RISING or name in features.NEGATIVE or name == "activity":
        return 1
    return -1 if name in features.FADING else 0


def at_base_rate(model: Model, rate: float) -> Model:
    """The same risks with this base rate (0 to 1) as baseline; the first term makes up for the shift."""
    baseline = logit(float(np.clip(rate, 1e-6, 1 - 1e-6)))
    if not model.terms:
        return msgspec.structs.replace(model, baseline=baseline)
    first = msgspec.structs.replace(model.terms[0], offset=model.terms[0].offset + baseline - model.baseline)
    return msgspec.structs.replace(model, baseline=baseline, terms=(first, *model.terms[1:]))
