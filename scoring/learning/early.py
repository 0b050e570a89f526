"""An account's first adjustment of the day-one formula: from silences that may still last.

A young account has few outcomes: a horizon has to pass before the first is known. But its silences tell at once. At
every 15th midnight each customer at risk is watched from then on, for as long as time has passed, at most a horizon;
and the formula is asked for the chance of no return within just that time. Five numbers are learnt from that: how much
activity and silence weigh, how high the formula lies, and how much being a newcomer weighs, for those of few active
days and for those who may leave right after them. All are shrunk to usual ones (a Gaussian prior): those of the
formula, but that activity and silence tell a quarter less in most accounts. Without a level of its own, an account that
few leave made the formula flat, and one that most leave made it count newcomers too much. Silence has a weight of its
own because accounts differ most in it: where visits come by chance it tells nearly all, where they come in bursts, or
where many events are lost, much less.

A silence that was watched for a part of the horizon counts for the square of that part: over a week the formula can be
wrong in another way than over a month. One that began long ago counts for less, since accounts change. A customer's
silences are alike, so together they count for the square root of their number: for all of it, those who stay would
drown newcomers; for one, every customer's last silence would stand for all those before, and most would leave. All
customers together count for no more than SHARED: they share seasons and releases, so a large account is not as sure as
its number suggests.

The adjustment is trusted as far as it would have done better lately: fitted as of one and two horizons ago, it is
compared with the formula on the silences since. It counts in full where its gain is a standard error over customers,
for a part where it is less, and not at all where it did worse. A single threshold made accounts near it jump back and
forth between two levels.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.history import PAID
from scoring.invoices import is_paid_in_person
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
HALF_LIFE: Final = 180.0  # days, of a silence
SILENCE: Final = "silence"
NEWCOMER: Final = "newcomer"
QUITTING: Final = "quitting"
ACTIVITY: Final = "activity"
SAME: Final = 0.1  # of a weight
USUAL: Final = 0.75  # weight of activity and silence in an account of which little is known
_FORMULA: Final = msgspec.structs.replace(PRIOR, terms=tuple(t for t in PRIOR.terms if t.feature != NEWCOMER))
_WEIGHT: Final = next(t.weights[0] for t in PRIOR.terms if t.feature == NEWCOMER)
_UNCHANGED: Final = np.array([1.0, 1.0, 0.0, _WEIGHT, 0.0])  # activity, silence, level, newcomers by days, by quitting
_MEAN: Final = np.array([USUAL, USUAL, 0.0, _WEIGHT, 0.0])
_PRIORS: Final = Priors(_MEAN, np.array([0.5, 0.5, 1.0, 1.6, 2.0]), np.array([1, 1, 0, 0, 0], np.int8))


class Watched(NamedTuple):
    """Silences as of a moment: the features of each, its outcome (1: it lasts), its customer and its weight."""

    x: Floats  # (silences, 5): the formula's log-odds at the last engagement, silence, 1, 1 / active days, quitting
    lasts: Labels
    customer: NDArray[np.int64]
    worth: Floats  # 0 to 1: by the days that it was watched, and how long ago

    def rows(self, which: NDArray[np.bool_]) -> "Watched":
        """A selection of the silences."""
        return Watched(self.x[which], self.lasts[which], self.customer[which], self.worth[which])


class Silences:
    """An account's silences up to a moment (epoch seconds), for models as of that moment or any before."""

    def __init__(
        self, rollup: Rollup, until: float, horizon_days: float, pauses: Sequence[Pause] = (), *, own: bool = False
    ) -> None:
        """With `own`, silences are watched over the customers' own horizons, as risks are served."""
        self._rollup, self._horizon, self._pauses = rollup, horizon_days, pauses
        self._paid_in_person = is_paid_in_person(rollup)
        self._columns = (*PRIOR.features, QUITTING, *([PAID] if self._paid_in_person else []))
        self._customer, self._at = _list_cases(rollup, until, self._paid_in_person)
        everybody = np.arange(len(self._at))
        self._settled, self._days = self._watch(everybody, np.full(len(everybody), float(horizon_days)), own)

    def adjust(self, now: float, version: str = KIND) -> Model | None:
        """Returns the formula, adjusted to the silences watched until `now`; None if it predicts as well unadjusted."""
        trust = self._trust(now)
        return self.fit(now, version, trust) if trust > 0 else None

    def fit(self, now: float, version: str = KIND, trust: float = 1.0) -> Model:
        """Returns the adjusted formula in any case. `trust` is the share of the adjustment that counts, 0 to 1."""
        watched = self._judge(now, self._at <= now - LEAST * DAY)
        coefficients = _UNCHANGED + trust * (_coefficients(watched) - _UNCHANGED)
        activity, silence, level, newcomer, quitting = coefficients.tolist()
        terms = [_scaled(term, silence if term.feature == SILENCE else activity) for term in _FORMULA.terms]
        terms += [Term(NEWCOMER, (newcomer,)), Term(QUITTING, (quitting,))]
        terms += [Term(PAID, (0.0,))] if PAID in self._columns else []  # asks for payments to count as use
        model = Model(version, KIND, PRIOR.baseline * activity + level, tuple(terms))
        if not len(watched.lasts):
            return model
        chances = sigmoid(self._settled.x[self._at <= now] @ coefficients)
        return at_base_rate(model, float(chances.mean()))

    def _trust(self, now: float) -> float:
        """0 to 1: the gain on the silences since one and two horizons ago, in standard errors."""
        if not len(self._at):
            return 0.0
        gap = min(self._horizon, (now - float(self._at.min())) / DAY / 2)
        gains, customers = [np.zeros(0)], [np.zeros(0, np.int64)]
        for split in range(1, SPLITS + 1):
            begin = now - split * gap * DAY
            fitted = _coefficients(self._judge(begin, self._at <= begin - LEAST * DAY))
            later = (self._at >= begin) & (self._at < begin + gap * DAY)
            since = self._judge(now, later & (self._at <= now - min(LEAST, gap / 2) * DAY))
            gains.append(_loss(since, _UNCHANGED) - _loss(since, fitted))
            customers.append(since.customer)
        return min(max(gain_in_errors(np.concatenate(gains), np.concatenate(customers)), 0.0), 1.0)

    def _judge(self, now: float, which: NDArray[np.bool_]) -> Watched:
        """These silences as known at `now`: silences shorter than the horizon are judged over their own days."""
        days = (now - self._at) / DAY
        settled = self._settled
        x, lasts = settled.x.copy(), settled.lasts.copy()
        worth = np.clip(days / self._days, 0.0, 1.0) ** 2 * np.exp2(-np.maximum(days, 0.0) / HALF_LIFE)
        short = np.flatnonzero(which & (days < self._days))
        if len(short):
            watched, _ = self._watch(short, days[short])
            x[short], lasts[short] = watched.x, watched.lasts
        return Watched(x, lasts, settled.customer, worth).rows(which)

    def _watch(self, cases: NDArray[np.intp], days: Floats, own: bool = False) -> tuple[Watched, Floats]:
        """Silences over so many days, or longer own horizons, and which these were."""
        customer, at, unknown = self._customer[cases], self._at[cases], np.zeros(len(cases), np.int8)
        taken = sample(
            self._rollup,
            customer,
            at,
            unknown,
            columns=self._columns,
            horizon_days=days,
            pauses=self._pauses,
            own=own,
        )
        lasts = lapsed_within(self._rollup, customer, at, taken.horizon, paid_in_person=self._paid_in_person)
        return Watched(_columns(taken), lasts, taken.customer, np.ones(len(lasts))), taken.horizon


def differs(adjusted: Model, current: Model) -> bool:
    """True if an adjusted formula differs from the one in use by more than a few further silences would change it."""
    new, old = ({term.feature: term.weights[0] for term in model.terms} for model in (adjusted, current))
    moved = any(abs(new[name] - old.get(name, 0.0)) > SAME for name in (ACTIVITY, SILENCE, NEWCOMER, QUITTING))
    return moved or abs(_level(adjusted) - _level(current)) > SAME


def _level(model: Model) -> float:
    """The log-odds of a customer whose features are all 0."""
    return model.baseline - sum(term.offset for term in model.terms)


def is_gain(gains: Floats, customers: NDArray[np.int64], errors: float = 1.0) -> bool:
    """True if the mean gain (nats a row) is above so many standard errors."""
    return gain_in_errors(gains, customers) > errors + 1e-6


def gain_in_errors(gains: Floats, customers: NDArray[np.int64]) -> float:
    """The mean gain (nats a row) in standard errors, the rows of one customer taken together; 0 without any."""
    _, place = np.unique(customers, return_inverse=True)
    error = float(np.sqrt((np.bincount(place, gains) ** 2).sum()))
    return float(gains.sum()) / error if error > 0 else 0.0


def _list_cases(rollup: Rollup, until: float, paid_in_person: bool) -> tuple[NDArray[np.intp], Floats]:
    """(customers, instants) at risk at every 15th midnight that was watched for long enough."""
    if not len(rollup.day):
        return np.zeros(0, np.intp), np.zeros(0)
    midnights = np.arange(int(rollup.day.min()) + 1, until // DAY - LEAST + 1, EVERY) * DAY
    parts = [at_risk(rollup, at, paid_in_person=paid_in_person) for at in midnights.tolist()]
    customer = np.concatenate([np.zeros(0, np.intp), *parts])
    at = np.repeat(midnights, [len(part) for part in parts]).astype(float)
    if len(customer) <= MOST:
        return customer, at
    drawn = np.sort(np.random.default_rng(0).choice(len(customer), MOST, replace=False))
    return customer[drawn], at[drawn]


def _columns(taken: Sample) -> Floats:
    silence = taken.select([SILENCE])
    standing = taken.logit(_FORMULA)[:, None] - silence
    return np.column_stack([standing, silence, np.ones(len(taken.x)), taken.select([NEWCOMER, QUITTING])])


def _coefficients(watched: Watched) -> Floats:
    """The weights of activity and silence, the level, and the weights of newcomers."""
    if not len(watched.lasts):
        return _UNCHANGED
    _, place = np.unique(watched.customer, return_inverse=True)
    total, most = np.bincount(place, watched.worth), np.zeros(int(place.max()) + 1)
    np.maximum.at(most, place, watched.worth)
    weight = watched.worth * np.sqrt(most / total)[place]
    weight *= most.sum() / weight.sum() / (1.0 + most.sum() / SHARED)
    return fit_logistic(watched.x, watched.lasts, _PRIORS, weight, intercept=False)[1]


def _loss(watched: Watched, coefficients: Floats) -> Floats:
    """Negative log-likelihood of each silence, in nats."""
    logit = watched.x @ coefficients
    return np.asarray(np.logaddexp(0.0, logit) - watched.lasts * logit)


def _scaled(term: Term, slope: float) -> Term:
    weights = tuple(weight * slope for weight in term.weights)
    return msgspec.structs.replace(term, weights=weights, offset=term.offset * slope)
