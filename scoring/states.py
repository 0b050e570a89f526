"""States of customers: new, active or lapsed, by their silence and their own rhythm."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.events import CHURNED, ENGAGEMENT
from scoring.group_by import by_owner
from scoring.history import History
from scoring.prior import days
from scoring.rollup import DAY, Floats, Rollup

STATES: Final = ("new", "active", "lapsed")
NEW, ACTIVE, LAPSED = range(3)

PATIENCE: Final = 14.0  # days of silence that never make a customer lapsed
CADENCES: Final = 2.0  # … nor does twice the own cadence
UNKNOWN: Final = 30.0  # days, where the cadence isn't known yet
MOST_PATIENCE: Final = 90.0  # days
LIKELY: Final = 0.5  # … nor any silence, while a return is likelier than none
BILL_LATE: Final = 30.0  # days after a bill was due, before whoever only pays is lapsed
PAID_ONCE: Final = 45.0  # days after a first payment within which the second may come
PAYS: Final = 2  # payments, from which on a customer who never logs in is judged by their rhythm


def find_last_active(rollup: Rollup) -> Floats:
    """Epoch seconds of each customer's last engagement; NaN without any."""
    engaged = rollup.where(rollup.of(ENGAGEMENT), "last_at")
    return by_owner(np.maximum, engaged.customer, engaged.last_at, rollup.customers)


def patience(cadence: Floats) -> Floats:
    """Days of silence after which a customer is lapsed, by the median days between active days (NaN: not known)."""
    return np.where(np.isnan(cadence), UNKNOWN, np.clip(CADENCES * cadence, PATIENCE, MOST_PATIENCE))


def lapse_time(history: History, horizon_days: float) -> Floats:
    """Epoch seconds from which on silence makes each customer lapsed, while nothing more happens."""
    never = np.isnan(history.last_active) & (history.active_days < PAYS)
    silent_from = np.where(never & np.isnan(history.seen), history.first, history.seen)
    patient = np.where(never, _beginning(history, horizon_days), _patience(history))
    lapses = silent_from + patient * DAY
    if CHURNED in history.signals:
        churned = history.signals[CHURNED].last
        lapses = np.where(churned >= silent_from, np.fmin(churned, lapses), lapses)
    return np.asarray(lapses)


def state_of(
    history: History, at: float | Floats, probability: Floats, horizon_days: float | Floats
) -> NDArray[np.int8]:
    """Index into STATES, for instants in epoch seconds, the risk (0 to 1) and the horizon (days).

    Active while silent for no longer than is usual, or while a return is likely; else lapsed. A customer who was never
    engaged is new for max(14 days, the horizon) after the first event, or 45 days after a payment, and lapsed from then
    on: never started; one who pays again and again is judged as if that were use. A customer who has churned by the
    account's own word is lapsed until engaged again.
    """
    patient = (days(at, history.seen) <= _patience(history)) | (probability < LIKELY)
    state = np.where(patient, ACTIVE, LAPSED)
    never = np.isnan(history.last_active) & (history.active_days < PAYS)
    begun = days(at, np.fmax(history.first, history.seen)) <= _beginning(history, horizon_days)
    state[never] = np.where(begun, NEW, LAPSED)[never]
    if CHURNED in history.signals:
        churned = history.signals[CHURNED].last
        state[~np.isnan(churned) & ~(history.last_active > churned)] = LAPSED
    return np.asarray(state.astype(np.int8))


def _beginning(history: History, horizon_days: float | Floats) -> Floats:
    """Days from the first event, or the only payment, in which a customer who was never engaged is new."""
    return np.maximum(np.where(history.active_days > 0, PAID_ONCE, PATIENCE), horizon_days)


def _patience(history: History) -> Floats:
    """Days of silence after which each customer is lapsed; whoever only pays, not before the next bill is late."""
    days = patience(history.cadence)
    due = np.where(np.isnan(history.last_active), history.cadence + BILL_LATE, 0.0)
    return np.asarray(np.fmax(days, due))
