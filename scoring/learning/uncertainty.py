"""Confidence intervals of the weights of a regression.

A customer gives many snapshots that look alike, so they are no independent evidence: the covariance is the sandwich
A⁻¹ B A⁻¹, with the curvature A of the posterior and B summed by customer. White (1982), Econometrica 50:1; Liang and
Zeger (1986), Biometrika 73:13.
"""

from itertools import pairwise
from math import sqrt
from typing import Final

import numpy as np

from scoring.learning.fit import pieces_of, prior_sd
from scoring.learning.samples import Sample
from scoring.model import Model, Term
from scoring.rollup import Floats

Covariance = list[list[float]]

REGRESSIONS: Final = ("map", "additive")  # kinds whose weights were all learnt
SURE: Final = 1.96  # standard errors on each side: 95 %
_PLACES: Final = 9


def measure_covariances(sample: Sample, model: Model) -> dict[str, Covariance]:
    """By feature, the covariance of the slopes of a term's stretches, for a regression that was fitted on this sample.

    Empty for the formula. A slope that is held at 0 has no spread.
    """
    if model.kind not in REGRESSIONS or not len(sample.x):
        return {}
    place = {name: k for k, name in enumerate(sample.columns)}
    parts = [pieces_of(sample.x[:, place[term.feature]], term.knots) for term in model.terms]
    x = np.column_stack([column for part in parts for column in part])
    sd = np.maximum(x.std(axis=0), 1e-9)
    owners = [term.feature for term in model.terms for _ in term.weights]
    spread = np.array([prior_sd(name, own) for name, own in zip(owners, sd.tolist(), strict=True)])
    free = np.concatenate([slopes_of(term) for term in model.terms]) != 0
    covariance = np.zeros((len(owners), len(owners)))
    covariance[np.ix_(free, free)] = _sandwich(sample, model, x[:, free], (sd / spread)[free] ** 2)
    edges = np.cumsum([0, *(len(term.weights) for term in model.terms)]).tolist()
    return {
        term.feature: np.round(covariance[start:end, start:end], _PLACES).tolist()
        for term, (start, end) in zip(model.terms, pairwise(edges), strict=True)
    }


def margin(term: Term, covariance: Covariance, without: float, with_it: float) -> float:
    """Returns the error margin, in log-odds, of a term's step from one value of its feature to another."""
    low, high = (np.array(pieces_of(np.array([x]), term.knots))[:, 0] for x in (without, with_it))
    step = high - low
    return SURE * sqrt(max(float(step @ np.array(covariance) @ step), 0.0))


def slopes_of(term: Term) -> Floats:
    """The slope of each stretch of a term."""
    return np.cumsum(term.weights)


def _sandwich(sample: Sample, model: Model, x: Floats, precision: Floats) -> Floats:
    """The covariance of the coefficients of x (rows, columns), without that of the intercept."""
    p = sample.probability(model)
    base = np.column_stack([np.ones(len(p)), x])
    curve = (base * (p * (1 - p))[:, None]).T @ base + np.diag(np.append(1e-9, precision))
    customers, owner = np.unique(sample.customer, return_inverse=True)
    rest = base * (sample.lapsed - p)[:, None]
    pull = np.column_stack([np.bincount(owner, column, len(customers)) for column in rest.T])
    inverse = np.linalg.pinv(curve)
    return np.asarray((inverse @ (pull.T @ pull) @ inverse)[1:, 1:])
