"""Samples: the features of customers at past instants, and their outcomes.

A sample's columns are computed by the code that scores, from the same rollup cut off at each instant, so nothing that
came later can leak in and nothing differs between training and serving.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring import features
from scoring.events import CHURNED, RECOGNISED
from scoring.feature_use import PLAN, USES
from scoring.features import View
from scoring.group_by import Times
from scoring.history import EVENT, PAID, history_of
from scoring.invoices import SIGNS, is_paid_in_person
from scoring.learning.metrics import Labels
from scoring.learning.outcomes import SETTLED, lapsed_within, snapshots
from scoring.model import Model, sigmoid
from scoring.pauses import Pause, bridge
from scoring.rollup import DAY, Floats, Rollup

_CHUNK: Final = 1_000_000  # rollup rows expanded at a time: some 100 MB
ESTABLISHED, ABANDONED = 14 * DAY, 7 * DAY
YEARS: Final = 730 * DAY  # of history, before the time of year is looked at
MOST_SNAPSHOTS: Final = 200_000
_USES: Final = 20  # product features at most
_PLANS: Final = 10
_CUSTOM: Final = 100  # custom events at most
ELIGIBLE: Final = 50  # customers must have sent a custom event before it is tested
USED: Final = 100  # customers must have used a product feature, or had a plan, before it is tested

BASELINES: Final = ("recency",)  # to compare with; no part of a model
ASIDE: Final = ("quitting",)  # weighed by the early adjustment alone; no part of a regression
ALWAYS: Final = (
    "activity",
    "silence",
    "lateness",
    "beyond",
    "newcomer",
    "frequency",
    "due",
    "tenure",
    "cadence",
    "trend",
)
OF_EVENT: Final = {  # the features of a recognised event
    "invoice_overdue": ("invoice_overdue", "invoices_missed"),
    "invoice_paid": ("invoice_paid", "since_payment", *SIGNS),
    "nps_response": ("detractor", "promoter", "promoters"),
    "subscription_downgraded": ("subscription_downgraded",),
    "subscription_upgraded": ("subscription_upgraded",),
    "subscription_renewed": ("subscription_renewed", "since_renewal"),
    "refund_requested": ("refund_requested",),
    "support_ticket_opened": ("support_ticket_opened", "ticket_waiting"),
    "support_ticket_resolved": ("support_ticket_resolved",),
    CHURNED: ("churned",),
}


class Sample(NamedTuple):
    """Snapshots: one row for each (customer, instant)."""

    columns: tuple[str, ...]
    x: Floats  # (snapshots, columns)
    lapsed: Labels  # (snapshots,), 0 or 1
    customer: NDArray[np.int64]  # whatever identifies a customer, to keep folds apart
    at: Floats  # epoch seconds
    horizon: Floats  # days, over which each is asked

    def rows(self, chosen: NDArray[Any]) -> Self:
        """A selection of the snapshots, by mask or positions."""
        return type(self)(self.columns, *(part[chosen] for part in self[1:]))

    def select(self, columns: Iterable[str]) -> Floats:
        """(snapshots, columns named)."""
        place = {name: k for k, name in enumerate(self.columns)}
        return self.x[:, [place[name] for name in columns]]

    def probability(self, model: Model) -> Floats:
        """Returns a model's probability for each snapshot, 0 to 1."""
        return sigmoid(self.logit(model))

    def logit(self, model: Model) -> Floats:
        """The same in log-odds; a feature that the sample lacks is one of events never sent."""
        logit, place = np.full(len(self.x), model.baseline), {name: k for k, name in enumerate(self.columns)}
        for term in model.terms:
            is_column = term.feature in place
            logit += term.at(self.x[:, place[term.feature]] if is_column else np.zeros(len(self.x)))
        return logit


def columns_of(rollup: Rollup) -> tuple[str, ...]:
    """The features that this account's events make possible; events that it never sends are absent, not zero.

    A custom event counts from 14 days of history on, and until 7 days after the account's last; the time of year, once
    it was there twice.
    """
    columns = [*ALWAYS, *ASIDE]
    for event, brought in OF_EVENT.items():
        if event in rollup.names:
            columns += brought
    if is_paid_in_person(rollup):
        columns.append(PAID)
    if rollup.value.any():
        columns.append("session")
    if len(rollup.last_at) and np.ptp(rollup.last_at) >= YEARS:
        columns.append(features.SEASON)
    used = rollup.of(("feature_used",))
    columns += [USES + name for name in _common(rollup, rollup.detail, rollup.details, used, USED, _USES)]
    columns += [PLAN + name for name in _common(rollup, rollup.plan, rollup.plans, rollup.plan >= 0, USED, _PLANS)]
    custom = ~rollup.of((*RECOGNISED, CHURNED)) & _current(rollup)[rollup.event]
    columns += [EVENT + name for name in _common(rollup, rollup.event, rollup.names, custom, 1, _CUSTOM)]
    return tuple(columns)


def sample(
    rollup: Rollup,
    customers: NDArray[np.intp],
    instants: Floats,
    lapsed: Labels,
    *,
    columns: tuple[str, ...],
    horizon_days: float | Floats,
    pauses: Sequence[Pause] = (),
    own: bool = False,
) -> Sample:
    """The features of customers (indices of the rollup) at instants (epoch seconds), arrays of one length, by a clock
    that stands still during the pauses; with `own`, over their own horizons, as risks are served."""
    x = np.zeros((len(customers), len(columns)))
    horizons = np.array(np.broadcast_to(horizon_days, len(customers)), np.float64)
    for part in _chunks(rollup, customers):
        at = instants[part]
        days, clock = bridge(rollup.at(customers[part], at), pauses, at)
        history = history_of(days, clock, columns)
        if own:
            horizons[part] = features.own_horizons(history, horizons[part])
        view = View(history, clock, horizons[part], fixed=not own)
        x[part] = np.column_stack([features.read(name, view) for name in columns])
    return Sample(columns, x, lapsed, customers.astype(np.int64), instants, horizons)


def take_snapshots(
    rollup: Rollup, now: float, horizon_days: int, pauses: Sequence[Pause], contacts: Times | None
) -> Sample:
    """Snapshots whose outcome is known: over the horizon that is served, the customer's own where it is longer."""
    customers, at = snapshots(rollup, now, horizon_days, pauses=pauses)
    if len(customers) > MOST_SNAPSHOTS:
        drawn = np.sort(np.random.default_rng(0).choice(len(customers), MOST_SNAPSHOTS, replace=False))
        customers, at = customers[drawn], at[drawn]
    unknown, columns = np.zeros(len(customers), np.int8), columns_of(rollup)
    taken = sample(rollup, customers, at, unknown, columns=columns, horizon_days=horizon_days, pauses=pauses, own=True)
    until = at + taken.horizon * DAY
    counts = until + SETTLED <= now
    for began, ended in pauses:
        counts &= (at >= ended) | (until <= began)
    if contacts is not None:  # their outcome is not their own doing alone
        counts &= ~contacts.within(customers, at, until)
    taken = taken.rows(counts)
    return taken._replace(lapsed=lapsed_within(rollup, customers[counts], taken.at, taken.horizon))


def _chunks(rollup: Rollup, customers: NDArray[np.intp]) -> Iterator[slice]:
    """Runs of snapshots whose customers have no more than a chunk of rows together."""
    if not len(customers):
        return
    rows = np.bincount(rollup.customer, minlength=rollup.customers)[customers] + 1
    chunk = np.cumsum(rows) // _CHUNK
    edges = np.flatnonzero(chunk[1:] != chunk[:-1]) + 1
    yield from (slice(start, end) for start, end in pairwise([0, *edges.tolist(), len(chunk)]))


def _current(rollup: Rollup) -> NDArray[np.bool_]:
    """Returns True for each name that has been sent for long enough, and still is."""
    first, last = np.full(len(rollup.names), np.inf), np.full(len(rollup.names), -np.inf)
    np.minimum.at(first, rollup.event, rollup.last_at)
    np.maximum.at(last, rollup.event, rollup.last_at)
    end = rollup.last_at.max(initial=-np.inf)
    return np.asarray((first <= end - ESTABLISHED) & (last >= end - ABANDONED))


def _common(
    rollup: Rollup, codes: NDArray[np.int32], names: list[str], rows: NDArray[np.bool_], least: int, most: int
) -> list[str]:
    """The names with the most customers, of those that enough customers have; ties by name."""
    pairs = np.unique(rollup.customer[rows].astype(np.int64) * max(len(names), 1) + codes[rows])
    count = np.bincount(pairs % max(len(names), 1), minlength=len(names))
    ranked = [(-int(count[k]), name) for k, name in enumerate(names) if name and count[k] >= least]
    return [name for _, name in sorted(ranked)[:most]]
