"""Outcomes: the customers at risk at a past instant, and those of them who lapsed; there is no cancel event to ask.

A customer at risk at T has lapsed by T + H if no engagement came in (T, T + H], or if the bills tell so and no
engagement came after they did:

- a trial ended, and no renewal, upgrade or payment followed within 14 days (where the account sends such events);
- an invoice was overdue, and neither paid within 21 days nor was there a login;
- a refund was requested, and 14 days of silence followed;
- the account's own event that means churn, if it has named one.

In an account that sends no engagement at all, payments stand for it.

Instants should be midnights UTC, or those that the rollup was cut at: a row stands for all its events.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.events import CHURNED, ENGAGEMENT, PAYMENTS, SIGNS_OF_LIFE
from scoring.group_by import Times, by_owner
from scoring.history import cadence_of, days_of
from scoring.invoices import settle_invoices
from scoring.learning.metrics import Labels
from scoring.look_back import limit_reach
from scoring.rollup import DAY, Floats, Rollup
from scoring.states import MOST_PATIENCE, patience

HORIZONS: Final = (14, 30, 60, 90)  # days
USUAL_HORIZON: Final = 30
RETURNS: Final = 0.25  # a horizon is long enough when no more than these come back after that much silence
SLACK: Final = 0.05
OBSERVED: Final = 100  # silences, before their outcomes are believed
SETTLED: Final = 3 * DAY  # late events land within
TRIAL, INVOICE, REFUND = 14 * DAY, 21 * DAY, 14 * DAY
WATCHED: Final = 90  # days after a silence of a horizon's length, before returns are counted


def at_risk(rollup: Rollup, at: float, *, paid_in_person: bool = False) -> NDArray[np.intp]:
    """The customers who are active at an instant (epoch seconds): silent for no longer than is usual for them, and not
    gone by the account's own word; payments are use where they are made in person."""
    past = rollup.of(use_of(rollup, paid_in_person)) & (rollup.last_at <= at)
    recent = rollup.where(past & (rollup.last_at >= at - MOST_PATIENCE * DAY), "last_at")
    last = by_owner(np.maximum, recent.customer, recent.last_at, rollup.customers)
    rows = rollup.where(past & ~np.isnan(last)[rollup.customer], "day", "event")
    rows = limit_reach(rows, columns=["day"])
    active = at - last <= patience(cadence_of(rows)) * DAY
    churned = Times.of(rollup, (CHURNED,)).last(np.arange(rollup.customers), np.full(rollup.customers, at))
    return np.flatnonzero(active & (last > churned))


def use_of(rollup: Rollup, paid_in_person: bool = False) -> frozenset[str]:
    """The events that mean that a customer is there: engagement, or payments where the account sends none; both where
    payments are made in person."""
    if paid_in_person:
        return ENGAGEMENT | SIGNS_OF_LIFE
    return ENGAGEMENT if rollup.of(ENGAGEMENT).any() else SIGNS_OF_LIFE


def lapsed_within(
    rollup: Rollup,
    customer: NDArray[Any],
    at: Floats,
    horizon_days: float | Floats,
    *,
    paid_in_person: bool = False,
) -> Labels:
    """1 where a customer (index of the rollup) lapsed within the horizon after an instant; arrays of one length.

    The horizon (days) is one for all or one each. Where payments are made in person, one shows a visit, too: its own
    event may be lost.
    """
    until = at + horizon_days * DAY
    engaged = Times.of(rollup, use_of(rollup, paid_in_person))
    gone_at = _evidence(rollup, engaged).last(customer, until)
    lapsed = ~engaged.within(customer, at, until)
    lapsed |= (gone_at > at) & ~engaged.within(customer, np.maximum(gone_at, at), until)
    lapsed |= Times.of(rollup, (CHURNED,)).within(customer, at, until)
    return lapsed.astype(np.int8)


def snapshots(
    rollup: Rollup, now: float, horizon_days: float, every_days: int = 15, pauses: Iterable[tuple[float, float]] = ()
) -> tuple[NDArray[np.intp], Floats]:
    """(customers, instants) at risk at past midnights whose horizon is over and settled; none during a pause.

    `pauses` are (start, end) of outages: a horizon that overlaps one says nothing.
    """
    if not len(rollup.day):
        return np.zeros(0, np.intp), np.zeros(0)
    last = (now - SETTLED) // DAY - horizon_days
    midnights = np.arange(last, rollup.day.min(), -every_days)[::-1] * DAY
    watched = [t for t in midnights.tolist() if not any(a < t + horizon_days * DAY and b > t for a, b in pauses)]
    parts = [at_risk(rollup, at) for at in watched]
    at = np.repeat(np.array(watched, dtype=float), [len(part) for part in parts])
    return np.concatenate([np.zeros(0, np.intp), *parts]), at


def horizon_of(rollup: Rollup, now: float, before: int | None = None) -> int | None:
    """The shortest horizon (days) of silence after which at most a quarter comes back.

    Counted are silences of that length that were watched for WATCHED days more, however they ended: of a younger one
    nobody knows yet, and to count it as no return makes every young account's horizon too short. None while there are
    too few, 90 where even then more come back. The one `before` (else the usual one) stays unless it is off by more
    than SLACK, so that a share near a quarter doesn't change it from night to night.
    """
    before = before or USUAL_HORIZON
    rows = rollup.where(rollup.of(use_of(rollup)))
    owner, day = days_of(rows)
    gap = np.full(len(day), np.inf)
    gap[:-1] = np.where(owner[1:] == owner[:-1], day[1:] - day[:-1], np.inf)
    observed = 0
    for horizon in HORIZONS:
        silent = (gap > horizon) & (day <= now // DAY - horizon - WATCHED)
        observed = int(silent.sum())
        if observed >= OBSERVED and np.isfinite(gap[silent]).mean() <= _most_returns(horizon, before):
            return horizon
    return HORIZONS[-1] if observed >= OBSERVED else None


def _most_returns(horizon: int, before: int) -> float:
    if horizon > before:
        return RETURNS
    return RETURNS + SLACK if horizon == before else RETURNS - SLACK


def _evidence(rollup: Rollup, engaged: Times) -> Times:
    """Returns the times at which bills showed that a customer had gone."""
    paid, came = Times.of(rollup, PAYMENTS), Times.of(rollup, ("login",))
    trial, refund = (rollup.where(rollup.of((name,))) for name in ("trial_ended", "refund_requested"))
    overdue, settled = settle_invoices(rollup)
    pays = any(name in rollup.names for name in PAYMENTS)
    unpaid = ~paid.within(trial.customer, trial.last_at, trial.last_at + TRIAL) & pays
    owed = ~(settled <= overdue.last_at + INVOICE)
    owed &= ~came.within(overdue.customer, overdue.last_at, overdue.last_at + INVOICE)
    silent = ~engaged.within(refund.customer, refund.last_at, refund.last_at + REFUND)
    return Times(
        np.concatenate([trial.customer[unpaid], overdue.customer[owed], refund.customer[silent]]),
        np.concatenate(
            [trial.last_at[unpaid] + TRIAL, overdue.last_at[owed] + INVOICE, refund.last_at[silent] + REFUND]
        ),
    )
