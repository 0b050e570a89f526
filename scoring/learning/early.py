"""An account's first adjustment of the day-one formula: from silences that may still last.

A young account has few outcomes: a horizon has to pass before the first is known. But its silences tell at once. At
every 15th midnight each customer at risk is watched from then on, for as long as time has passed, at most a horizon;
and the formula is asked for the chance of no return within just that time. Two numbers are learnt from that: how steep
the formula is, and how much being a newcomer weighs; the rate at which customers leave follows. Both are shrunk to the
formula's own (a Gaussian prior). Everybody counts once, and all customers together for no more than SHARED: they share
seasons and releases, so a large account is not as sure as its number suggests.

The adjustment is used only if it would have done better lately: fitted as of one and two horizons ago, it must beat the
formula on the silences since, by more than a standard error over customers.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.learning.fit import at_base_rate
from scoring.learning.logistic import Priors, fit_logistic
from scoring.learning.metrics import Labels
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import Sample, sample
from scoring.model import PRIOR, Model, Term, sigmoid
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup

EVERY: Final = 15  # days from midnight to midnight
LEAST: Final = 7.0  # days that a silence is watched, before it counts
SHARED: Final = 200.0  # customers
MOST: Final = 20_000  # silences
SPLITS: Final = 2
KIND: Final = "early"
NEWCOMER: Final = "newcomer"
_FORMULA: Final = msgspec.structs.replace(PRIOR, terms=tuple(t for t in PRIOR.terms if t.feature != NEWCOMER))
_WEIGHT: Final = next(t.weights[0] for t in PRIOR.terms if t.feature == NEWCOMER)
_PRIORS: Final = Priors(np.array([1.0, _WEIGHT]), np.array([0.2, 0.8]), np.zeros(2, np.int8))


class Watched(NamedTuple):
    """Silences as of a moment: the formula's log-odds and 1 / active days, and True for each that lasts."""

    x: Floats  # (silences, 2)
    lasts: Labels
    customer: NDArray[np.int64]

    def rows(self, which: NDArray[np.bool_]) -> "Watched":
        """A selection of the silences."""
        return Watched(self.x[which], self.lasts[which], self.customer[which])


class Silences:
    """An account's silences up to a moment (epoch seconds), for models as of that moment or any before."""

    def __init__(
        self, rollup: Rollup, until: float, horizon_days: float, pauses: Sequence[Pause] = (), *, own: bool = False
    ) -> None:
        """With `own`, silences are watched over the customers' own horizons, as risks are served."""
        self._rollup, self._horizon, self._pauses = rollup, horizon_days, pauses
        self._customer, self._at = _list_cases(rollup, until)
        everybody = np.arange(len(self._at))
        self._settled, self._days = self._watch(everybody, np.full(len(everybody), float(horizon_days)), own)

    def adjust(self, now: float, version: str = KIND) -> Model | None:
        """The formula with steepness and newcomers as known at `now`; None where the formula itself did no worse."""
        return self.fit(now, version) if self._is_better(now) else None

    def fit(self, now: float, version: str = KIND) -> Model:
        """The same, whether it did better or not."""
        watched = self._known(now, self._at <= now - LEAST * DAY)
        slope, newcomer = _coefficients(watched).tolist()
        terms = [_scaled(term, slope) for term in _FORMULA.terms]
        model = Model(version, KIND, PRIOR.baseline * slope, (*terms, Term(NEWCOMER, (newcomer,))))
        if not len(watched.lasts):
            return model
        chances = sigmoid(self._settled.x[self._at <= now] @ np.array([slope, newcomer]))
        return at_base_rate(model, float(chances.mean()))

    def _is_better(self, now: float) -> bool:
        if not len(self._at):
            return False
        gap = min(self._horizon, (now - float(self._at.min())) / DAY / 2)
        gains, customers = [np.zeros(0)], [np.zeros(0, np.int64)]
        for split in range(1, SPLITS + 1):
            begin = now - split * gap * DAY
            fitted = _coefficients(self._known(begin, self._at <= begin - LEAST * DAY))
            later = (self._at >= begin) & (self._at < begin + gap * DAY)
            since = self._known(now, later & (self._at <= now - min(LEAST, gap / 2) * DAY))
            gains.append(_loss(since, _PRIORS.mean) - _loss(since, fitted))
            customers.append(since.customer)
        return is_gain(np.concatenate(gains), np.concatenate(customers))

    def _known(self, now: float, which: NDArray[np.bool_]) -> Watched:
        """These silences as known at `now`: silences shorter than the horizon are judged over their own days."""
        days = (now - self._at) / DAY
        known = self._settled
        x, lasts = known.x.copy(), known.lasts.copy()
        short = np.flatnonzero(which & (days < self._days))
        if len(short):
            watched, _ = self._watch(short, days[short])
            x[short], lasts[short] = watched.x, watched.lasts
        return Watched(x, lasts, known.customer).rows(which)

    def _watch(self, cases: NDArray[np.intp], days: Floats, own: bool = False) -> tuple[Watched, Floats]:
        """Silences over so many days, or longer own horizons, and which these were."""
        customer, at, unknown = self._customer[cases], self._at[cases], np.zeros(len(cases), np.int8)
        taken = sample(
            self._rollup,
            customer,
            at,
            unknown,
            columns=PRIOR.features,
            horizon_days=days,
            pauses=self._pauses,
            own=own,
        )
        lasts = lapsed_within(self._rollup, customer, at, taken.horizon)
        return Watched(_columns(taken), lasts, taken.customer), taken.horizon


def is_gain(gains: Floats, customers: NDArray[np.int64], errors: float = 1.0) -> bool:
    """True if the mean gain (nats a row) is above so many standard errors, the rows of one customer taken together."""
    if not len(gains):
        return False
    _, place = np.unique(customers, return_inverse=True)
    return bool(gains.sum() > (1e-6 + errors) * np.sqrt((np.bincount(place, gains) ** 2).sum()))


def _list_cases(rollup: Rollup, until: float) -> tuple[NDArray[np.intp], Floats]:
    """(customers, instants) at risk at every 15th midnight that was watched for long enough."""
    if not len(rollup.day):
        return np.zeros(0, np.intp), np.zeros(0)
    midnights = np.arange(int(rollup.day.min()) + 1, until // DAY - LEAST + 1, EVERY) * DAY
    parts = [at_risk(rollup, at) for at in midnights.tolist()]
    customer = np.concatenate([np.zeros(0, np.intp), *parts])
    at = np.repeat(midnights, [len(part) for part in parts]).astype(float)
    if len(customer) <= MOST:
        return customer, at
    drawn = np.sort(np.random.default_rng(0).choice(len(customer), MOST, replace=False))
    return customer[drawn], at[drawn]


def _columns(taken: Sample) -> Floats:
    return np.column_stack([taken.logit(_FORMULA), taken.select([NEWCOMER])[:, 0]])


def _coefficients(watched: Watched) -> Floats:
    """Steepness and weight of newcomers."""
    if not len(watched.lasts):
        return _PRIORS.mean
    _, place, count = np.unique(watched.customer, return_inverse=True, return_counts=True)
    weight = 1.0 / count[place] / (1.0 + len(count) / SHARED)
    return fit_logistic(watched.x, watched.lasts, _PRIORS, weight, intercept=False)[1]


def _loss(watched: Watched, coefficients: Floats) -> Floats:
    """Negative log-likelihood of each silence, in nats."""
    logit = watched.x @ coefficients
    return np.asarray(np.logaddexp(0.0, logit) - watched.lasts * logit)


def _scaled(term: Term, slope: float) -> Term:
    weights = tuple(weight * slope for weight in term.weights)
    return msgspec.structs.replace(term, weights=weights, offset=term.offset * slope)
