"""Learning an account's own model from what became of its customers.

Rivals of the model in use, each as soon as it can be fitted; the best of them replaces it if it did better on a later
holdout, by more than a standard error:

| rival | from | what is fitted |
|---|---|---|
| early | the first silences on | the formula's level, and its weights of activity, silence and newcomers (early.py) |
| recalibrated | 5 lapses before the holdout | intercept and slope |
| map | 10 | MAP logistic regression, shrunk to the formula |
| additive | 250, and 500 customers | a monotone challenger: piecewise-linear terms |

While there is no holdout yet, the early one stands if it did better on the latest silences. Without a comparison
(`fit`) 20 lapses are asked for in place of 5, and 50 in place of 10.

Custom events enter only where a score test conditional on the model, with one snapshot a customer, finds something:
Benjamini and Hochberg's false discovery rate is held at 10%, and at most 20 enter. One that is in use stays until its
p-value has been above 0.3 in two fits in a row.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.group_by import Times
from scoring.history import EVENT
from scoring.learning.early import KIND as EARLY
from scoring.learning.early import Silences, differs, is_gain
from scoring.learning.fit import fit_regression, recalibrate
from scoring.learning.logistic import discoveries, score_tests
from scoring.learning.metrics import Metrics, metrics_of
from scoring.learning.outcomes import USUAL_HORIZON, horizon_of
from scoring.learning.samples import ASIDE, BASELINES, ELIGIBLE, Sample, take_snapshots
from scoring.learning.uncertainty import REGRESSIONS, Covariance, measure_covariances
from scoring.model import PRIOR, Model
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup

RECALIBRATE, REGRESS, CHALLENGE = 20, 50, 250  # lapses
TRY_RECALIBRATED, TRY_MAP = 5, 10  # lapses before the holdout
CHALLENGE_CUSTOMERS: Final = 500
FALSE_DISCOVERIES: Final = 0.10
LEAVES: Final = 0.3  # p-value
DOUBTS: Final = 2  # fits in a row with more than that, before a custom event that is in use leaves
NO_DOUBTS: Final[Mapping[str, int]] = {}
MOST_CUSTOM: Final = 20
CUSTOM_LAPSES: Final = 10
SPREAD: Final = 7919  # a prime
HOLDOUT: Final = 0.3  # the latest share of snapshots


class Candidate(msgspec.Struct, frozen=True):
    """The standing of a custom event with the model."""

    event: str
    customers: int  # that sent it, of `customers_needed`
    lapses: int  # among them
    p_value: float | None  # None until it has the volume
    in_use: bool
    customers_needed: int = ELIGIBLE
    lapses_needed: int = CUSTOM_LAPSES
    doubts: int = 0  # fits in a row in which its p-value was above LEAVES, while it was in the model


class Training(msgspec.Struct, frozen=True):
    """The model to use from now on, and how it and its rivals did on the holdout."""

    model: Model
    replaced: bool
    snapshots: int
    lapses: int
    customers: int
    holdout: dict[str, Metrics]  # by kind: "in use", "recalibrated", "map", "additive"; empty when there was none
    candidates: list[Candidate]
    rivals: dict[str, Model] = {}  # by kind, as judged on the holdout; the winner fitted again on everything
    covariances: dict[str, Covariance] = {}  # of the winner's weights, by feature


class Learnt(msgspec.Struct, frozen=True):
    """A training, the horizon (days) that it was for, and the account's own, as far as it is known."""

    training: Training
    horizon_days: int
    horizon_found: int | None = None


def learn(
    rollup: Rollup,
    now: float,
    current: Model = PRIOR,
    *,
    version: str = "trained",
    horizon_days: int | None = None,
    horizon_before: int | None = None,
    pauses: Sequence[Pause] = (),
    doubts: Mapping[str, int] = NO_DOUBTS,
    contacts: Times | None = None,
) -> Learnt:
    """Everything from an account's rollup to the model to use from `now` (epoch seconds) on.

    The horizon is the account's own unless given; `horizon_before` is what it was until now. `pauses` are outages,
    (start, end); `doubts` those of the custom events after the training before this one; `contacts` when customers were
    written to: snapshots with one within their horizon are left out. At most 200,000 snapshots are used, drawn by a
    fixed lot; 60,000 customers with 4 million rows take some 25 s and 0.4 GB beside the rollup.
    """
    rollup = rollup.until(now)
    own_horizon = horizon_of(rollup, now, horizon_before)
    horizon = horizon_days or own_horizon or horizon_before or USUAL_HORIZON
    taken = take_snapshots(rollup, now, horizon, pauses, contacts)
    silences = Silences(rollup, now, horizon, pauses, own=True)
    training = train(taken, current, version=version, doubts=doubts, silences=silences, now=now)
    return Learnt(training, horizon, own_horizon)


def train(
    sample: Sample,
    current: Model = PRIOR,
    *,
    version: str = "trained",
    doubts: Mapping[str, int] = NO_DOUBTS,
    silences: Silences | None = None,
    now: float = 0.0,
) -> Training:
    """Fit on the earlier snapshots, compare on the later ones, refit the winner on all of them.

    `silences` are those up to `now` (epoch seconds), for the early rival; without them there is none.

    The model in use stays unless a rival has a lower log loss and no lower lift on the holdout. One that was trained
    lately has seen some of the holdout, which is to its advantage: its replacement is better beyond doubt. Rivals that
    lost are kept as they were judged.
    """
    early, late = forward_split(sample)
    holdout, rivals, model = {}, {}, current
    if late.lapsed.any() and not late.lapsed.all():
        rivals = _rivals(early, current, version, doubts)
        if silences is not None:
            rivals[EARLY] = silences.fit(float(late.at.min()), version)
        judged = {"in use": current} | rivals
        holdout = {kind: metrics_of(late.lapsed, late.probability(model)) for kind, model in judged.items()}
    winner = _winner(holdout, late, current, rivals)
    if winner == EARLY and silences is not None:
        model = rivals[EARLY] = silences.fit(now, version)
    elif winner != "in use":
        model = rivals[winner] = _rival(winner, sample, current, version, doubts)
    elif silences is not None and current.kind in (PRIOR.kind, EARLY) and not holdout:
        adjusted = silences.adjust(now, version)
        if adjusted is not None and differs(adjusted, current):
            winner, model = EARLY, adjusted
            rivals[EARLY] = adjusted
    return Training(
        model=model,
        replaced=winner != "in use",
        snapshots=len(sample.lapsed),
        lapses=int(sample.lapsed.sum()),
        customers=len(np.unique(sample.customer)),
        holdout=holdout,
        candidates=candidates_of(sample, model, doubts),
        rivals=rivals,
        covariances=measure_covariances(sample, model) if winner in REGRESSIONS else {},
    )


def fit(sample: Sample, current: Model = PRIOR, version: str = "fitted") -> Model:
    """The regression, recalibration or formula that the number of lapses allows, without a comparison."""
    lapses = int(sample.lapsed.sum())
    if lapses < RECALIBRATE or lapses == len(sample.lapsed):
        return PRIOR
    if lapses < REGRESS:
        return recalibrate(sample, PRIOR, version)
    return _map(sample, current, version, additive=_is_large(sample))


def forward_split(sample: Sample) -> tuple[Sample, Sample]:
    """Earlier and later snapshots; those whose outcome was open when the later ones begin are in neither."""
    if not len(sample.at):
        return sample, sample
    start = float(np.quantile(sample.at, 1 - HOLDOUT))
    return sample.rows(sample.at + sample.horizon * DAY <= start), sample.rows(sample.at >= start)


def candidates_of(sample: Sample, current: Model, doubts: Mapping[str, int] = NO_DOUBTS) -> list[Candidate]:
    """Returns the standing of each custom event of the sample, given everything else that is known."""
    names = [name for name in sample.columns if name.startswith(EVENT)]
    if not names or not len(sample.x):
        return []
    independent = sample.rows(_one_each(sample))
    sent = independent.select(names) > 0
    customers, lapses = sent.sum(axis=0), (sent & (independent.lapsed == 1)[:, None]).sum(axis=0)
    eligible = np.flatnonzero((customers >= ELIGIBLE) & (lapses >= CUSTOM_LAPSES))
    p_values = np.ones(len(names))
    if len(eligible):
        base = _regular(sample)
        plain = fit_regression(independent, base, "test")
        tested = independent.select([names[k] for k in eligible])
        p_values[eligible] = score_tests(
            independent.select(base), independent.lapsed, independent.probability(plain), tested
        )
    in_model = {term.feature for term in current.terms}
    doubted = {
        name: doubts.get(name.removeprefix(EVENT), 0) + 1
        for name, p_value in zip(names, p_values.tolist(), strict=True)
        if name in in_model and p_value > LEAVES
    }
    stays = np.array([name in in_model and doubted.get(name, 0) < DOUBTS for name in names])
    significant = np.zeros(len(names), dtype=bool)
    significant[eligible] = discoveries(p_values[eligible], FALSE_DISCOVERIES)
    best = sorted(np.flatnonzero(significant | stays).tolist(), key=lambda k: (p_values[k], names[k]))[:MOST_CUSTOM]
    return [
        Candidate(
            event=name.removeprefix(EVENT),
            customers=int(customers[k]),
            lapses=int(lapses[k]),
            p_value=float(p_values[k]) if k in eligible else None,
            in_use=k in best,
            doubts=doubted.get(name, 0),
        )
        for k, name in enumerate(names)
    ]


def _map(
    sample: Sample, current: Model, version: str, additive: bool = False, doubts: Mapping[str, int] = NO_DOUBTS
) -> Model:
    custom = [EVENT + c.event for c in candidates_of(sample, current, doubts) if c.in_use]
    return fit_regression(sample, [*_regular(sample), *custom], version, additive)


def _is_large(sample: Sample) -> bool:
    return int(sample.lapsed.sum()) >= CHALLENGE and len(np.unique(sample.customer)) >= CHALLENGE_CUSTOMERS


def _regular(sample: Sample) -> list[str]:
    return [name for name in sample.columns if not name.startswith(EVENT) and name not in (*BASELINES, *ASIDE)]


def _one_each(sample: Sample) -> NDArray[np.intp]:
    """A snapshot for each customer, spread over time: tests need independent rows.

    Customer k gives snapshot k · SPREAD modulo the number of its own. A prime spreads them evenly over early and late
    ones, and the choice is always the same.
    """
    order = np.lexsort((sample.at, sample.customer))
    _, start, count = np.unique(sample.customer[order], return_index=True, return_counts=True)
    return np.asarray(order[start + np.arange(len(start)) * SPREAD % count])


def _rivals(sample: Sample, current: Model, version: str, doubts: Mapping[str, int]) -> dict[str, Model]:
    lapses = int(sample.lapsed.sum())
    if min(lapses, len(sample.lapsed) - lapses) < TRY_RECALIBRATED:
        return {}
    kinds = ["recalibrated"]
    if min(lapses, len(sample.lapsed) - lapses) >= TRY_MAP:
        kinds.append("map")
    if _is_large(sample):
        kinds.append("additive")
    return {kind: _rival(kind, sample, current, version, doubts) for kind in kinds}


def _rival(kind: str, sample: Sample, current: Model, version: str, doubts: Mapping[str, int]) -> Model:
    if kind == "recalibrated":
        return recalibrate(sample, current, version)
    return _map(sample, current, version, additive=kind == "additive", doubts=doubts)


def _winner(holdout: dict[str, Metrics], late: Sample, current: Model, rivals: Mapping[str, Model]) -> str:
    """The lowest log loss among rivals that beat the model in use by a standard error and are not worse in lift.

    An early model was fitted before any outcome was known, and has proved nothing: whatever was fitted to outcomes
    replaces it as soon as it does better at all.
    """
    if not holdout:
        return "in use"
    floor = holdout["in use"].lift or 0.0
    before = _losses(late, current)
    unproved = current.kind == EARLY
    losses = {
        kind: holdout[kind].log_loss
        for kind, model in rivals.items()
        if (holdout[kind].lift or 0.0) >= floor
        and is_gain(before - _losses(late, model), late.customer, 0.0 if unproved and kind != EARLY else 1.0)
    }
    return min(losses, key=lambda kind: losses[kind]) if losses else "in use"


def _losses(sample: Sample, model: Model) -> Floats:
    """Negative log-likelihood of each snapshot, in nats."""
    logit = sample.logit(model)
    return np.asarray(np.logaddexp(0.0, logit) - sample.lapsed * logit)
