"""Backtests: risks predicted at past moments, against actual churn.

Events are folded into one rollup in a single pass. Its days are cut at the very instants that are scored, so an event
one second after a snapshot is in another row, and changes nothing. "Trained" means fitted on other customers: each
customer's snapshots are scored by a model that has seen none of that customer's.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.event_roles import PLAIN, Meaning, translate
from scoring.events import ENGAGEMENT, detail_of, plan_of, value_of
from scoring.features import BACK_BY
from scoring.learning.early import Silences
from scoring.learning.fit import fit_regression
from scoring.learning.metrics import Labels, Metrics, metrics_of, reach
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import BASELINES as COLUMNS
from scoring.learning.samples import Sample, columns_of, sample
from scoring.learning.training import fit
from scoring.model import PRIOR, Model
from scoring.rollup import DAY, Floats, Rollup

BASELINES: Final = {"recency": ("recency",), "recency_frequency_tenure": ("recency", "frequency", "tenure")}
_FOLDED: Final = 20  # lapses below which nothing can be trained
_NOTHING: Final = (
    "There is nothing to score: no customer was active before any of the moments asked for, "
    "by login, feature_used or an engagement event of your own"
)
REFIT: Final = 10 * DAY  # seconds, after which the formula is adjusted anew to the account's silences so far


class BacktestEvent(NamedTuple):
    """An event as a backtest reads it; `at` in epoch seconds."""

    customer: str
    event: str
    at: float
    properties: dict[str, Any]


class Snapshot(NamedTuple):
    """A customer at a moment (epoch seconds). `lapsed`: 1 if lost within the horizon after it, else 0."""

    customer: str
    at: float
    lapsed: int


class ScoredSnapshot(NamedTuple):
    """The scores of one snapshot; `trained` is None if there were too few lapses to train."""

    customer: str
    at: float
    untrained: float
    trained: float | None


class Report(msgspec.Struct, frozen=True):
    """The quality of each way of scoring; `trained` and the baselines are out of fold, None with under 20 lapses.

    `untrained` is the day-one formula, adjusted to the account's own silences as known by each moment.
    """

    horizon_days: float
    events: int
    customers: int
    folds: int
    untrained: Metrics
    trained: Metrics | None
    baselines: dict[str, Metrics | None]
    written: int = 0  # messages, had the riskiest tenth of each month got one
    reached: int = 0  # … of the customers who lapsed


def backtest(
    events: Iterable[BacktestEvent],
    snapshots: Sequence[Snapshot] | None = None,
    *,
    cutoffs: Sequence[float] = (),
    horizon_days: int = 30,
    folds: int = 5,
    meaning: Meaning = PLAIN,
    progress: Callable[[int], None] | None = None,
) -> tuple[Report, list[ScoredSnapshot]]:
    """Score snapshots from the events up to each, and compare.

    Without snapshots, everybody who is at risk at a cutoff (epoch seconds) is one, and without cutoffs, at every
    `horizon_days` from the start of the events; their outcomes are derived from the events. `progress` is called
    with the number of events read so far. Raises ValueError where there is nothing to score.
    """
    if horizon_days < 1 or folds < 2:
        raise ValueError("the horizon must be at least 1 day and the folds at least 2")
    log = Log(snapshots or (), [at + extra * DAY for at in cutoffs for extra in (0, horizon_days)], meaning)
    log.read(events, progress)
    rollup = log.rollup()
    cases = derive_outcomes(rollup, cutoffs, horizon_days) if snapshots is None else _resolve(snapshots, log.customers)
    if not len(cases[0]):
        raise ValueError(_NOTHING)
    taken = sample(rollup, *cases, columns=_columns(rollup), horizon_days=horizon_days)
    fold = folds_of(taken.customer, folds)
    untrained, trained = score_untrained(rollup, taken, horizon_days), score_out_of_fold(taken, fold, fit)
    report = _report(taken, untrained, trained, _baselines(taken, fold), horizon_days, folds, log.events)
    return report, _list_scored(list(log.customers), taken, untrained, trained)


class Log:
    """Events folded into rollup rows that are cut at the instants to be scored."""

    def __init__(self, snapshots: Iterable[Snapshot], instants: Iterable[float], meaning: Meaning = PLAIN) -> None:
        self.events = 0
        self.customers: dict[str, int] = {}
        self._everybody = sorted(instants)
        self._meaning = meaning
        self._own: dict[str, list[float]] = {}
        self._rows: dict[tuple[int, int, int, str, str], list[Any]] = {}
        self._seen: set[int] = set()
        for snapshot in snapshots:
            self._own.setdefault(snapshot.customer, []).append(snapshot.at)
            self.customers.setdefault(snapshot.customer, len(self.customers))
        for own in self._own.values():
            own.sort()

    def read(self, events: Iterable[BacktestEvent], progress: Callable[[int], None] | None = None) -> None:
        """Take events in any order."""
        for event in events:
            self.add(event)
            if progress and self.events % 10_000 == 0:
                progress(self.events)

    def add(self, event: BacktestEvent) -> None:
        """Take one event; the same one again counts once, as it is stored once."""
        self.events += 1
        name, at, properties = event.event, event.at, event.properties
        customer = self.customers.setdefault(event.customer, len(self.customers))
        if name not in ENGAGEMENT and self._again(customer, name, at, properties):
            return
        detail = detail_of(name, properties)
        cut = bisect_left(self._own.get(event.customer, self._everybody), at)
        key = (customer, int(at // DAY), cut, name, detail)
        row = self._rows.get(key)
        if row is None:
            self._rows[key] = [1, value_of(name, properties), at, plan_of(properties)]
            return
        row[0] += 1
        row[1] += value_of(name, properties)
        if at > row[2]:
            row[2] = at
            row[3] = plan_of(properties) or row[3]

    def _again(self, customer: int, name: str, at: float, properties: dict[str, Any]) -> bool:
        """True if this very event was there before. Engagement is not checked: a day is active once anyway."""
        mark = hash((customer, name, at, repr(sorted(properties.items(), key=repr))))
        before = len(self._seen)
        self._seen.add(mark)
        return len(self._seen) == before

    def rollup(self) -> Rollup:
        """Everything taken so far, one customer index for each of `customers`."""
        rows = ((k[0], k[1], k[3], k[4], v[0], v[1], v[2], v[3]) for k, v in sorted(self._rows.items()))
        return translate(Rollup.from_rows(len(self.customers), rows), self._meaning)


def derive_outcomes(
    rollup: Rollup, cutoffs: Sequence[float], horizon_days: int
) -> tuple[NDArray[np.intp], Floats, Labels]:
    """(customers, instants, lapsed) of everybody at risk at the cutoffs whose outcome lies within the events."""
    if not len(rollup.last_at):
        return np.zeros(0, np.intp), np.zeros(0), np.zeros(0, np.int8)
    end = float(rollup.last_at.max())
    start = (int(rollup.day.min()) + horizon_days) * DAY
    moments = sorted(cutoffs) or np.arange(start, end - horizon_days * DAY, horizon_days * DAY).tolist()
    parts = [(at, at_risk(rollup, at)) for at in moments if at + horizon_days * DAY <= end]
    if not parts:
        raise ValueError("no moment has its whole horizon within the events: there is no outcome to compare with")
    customers = np.concatenate([risky for _, risky in parts])
    at = np.concatenate([np.full(len(risky), moment) for moment, risky in parts])
    return customers, at, lapsed_within(rollup, customers, at, horizon_days)


def score_untrained(rollup: Rollup, taken: Sample, horizon_days: float) -> Floats:
    """Each snapshot's probability by the formula, adjusted to the silences of all customers as known by its moment."""
    out = taken.probability(PRIOR)
    silences = Silences(rollup, float(taken.at.max()), horizon_days)
    begin, model = -np.inf, PRIOR
    for at in np.unique(taken.at).tolist():
        if at >= begin + REFIT:
            begin, model = at, silences.adjust(at) or PRIOR
        at_once = taken.at == at
        out[at_once] = taken.rows(at_once).probability(model)
    return out


def folds_of(customers: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """A fold for each snapshot, one for all of a customer's; customers are dealt out in a fixed shuffle."""
    distinct, position = np.unique(customers, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(distinct))[position] % folds)


def score_out_of_fold(taken: Sample, fold: NDArray[np.int64], fitted: Callable[[Sample], Model]) -> Floats | None:
    """Each snapshot's probability by the model fitted on the other folds; None where lapses are too few."""
    lapses = int(taken.lapsed.sum())
    if lapses < _FOLDED or lapses == len(taken.lapsed):
        return None
    out = np.zeros(len(taken.x))
    for k in np.unique(fold):
        out[fold == k] = taken.rows(fold == k).probability(fitted(taken.rows(fold != k)))
    return out


def _report(
    taken: Sample,
    untrained: Floats,
    trained: Floats | None,
    baselines: dict[str, Metrics | None],
    horizon_days: int,
    folds: int,
    events: int,
) -> Report:
    written, reached = reach(_months(taken.at), taken.lapsed, untrained if trained is None else trained)
    return Report(
        horizon_days=horizon_days,
        events=events,
        customers=len(np.unique(taken.customer)),
        folds=folds,
        untrained=metrics_of(taken.lapsed, untrained),
        trained=None if trained is None else metrics_of(taken.lapsed, trained),
        baselines=baselines,
        written=written,
        reached=reached,
    )


def _list_scored(
    names: Sequence[str], taken: Sample, untrained: Floats, trained: Floats | None
) -> list[ScoredSnapshot]:
    learnt = [None] * len(untrained) if trained is None else trained.tolist()
    rows = zip(taken.customer.tolist(), taken.at.tolist(), untrained.tolist(), learnt, strict=True)
    return [ScoredSnapshot(names[customer], *risks) for customer, *risks in rows]


def _months(at: Floats) -> NDArray[Any]:
    return (at * 1000).astype("datetime64[ms]").astype("datetime64[M]")


def _baselines(taken: Sample, fold: NDArray[np.int64]) -> dict[str, Metrics | None]:
    rate = np.full(len(taken.x), taken.lapsed.mean())
    out: dict[str, Metrics | None] = {"base_rate": metrics_of(taken.lapsed, rate)}
    for name, columns in BASELINES.items():
        risks = score_out_of_fold(taken, fold, lambda part, columns=columns: fit_regression(part, columns, "baseline"))  # type: ignore[misc]
        out[name] = None if risks is None else metrics_of(taken.lapsed, risks)
    return out


def _columns(rollup: Rollup) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*columns_of(rollup), BACK_BY, *COLUMNS]))


def _resolve(snapshots: Sequence[Snapshot], index: dict[str, int]) -> tuple[NDArray[np.intp], Floats, Labels]:
    customers = np.array([index[snapshot.customer] for snapshot in snapshots], dtype=np.intp)
    at = np.array([snapshot.at for snapshot in snapshots], dtype=float)
    return customers, at, np.array([snapshot.lapsed for snapshot in snapshots], dtype=np.int8)
