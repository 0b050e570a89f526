"""States: whether silence is still a risk, or already a fact."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.events import CHURNED
from scoring.history import History
from scoring.prior import days
from scoring.rollup import DAY, Floats

STATES: Final = ("new", "active", "lapsed")
NEW, ACTIVE, LAPSED = range(3)

PATIENCE: Final = 14.0  # days of silence that never make a customer lapsed
CADENCES: Final = 2.0  # … nor does twice the own cadence


def patience(cadence: Floats) -> Floats:
    """Days of silence after which a customer is lapsed, by the median days between active days (NaN: not known)."""
    return np.fmax(PATIENCE, CADENCES * cadence)


def lapse_time(history: History) -> Floats:
    """Epoch seconds at which each customer lapses, or lapsed, while nothing more happens."""
    silent_from = np.where(np.isnan(history.last_active), history.first, history.last_active)
    lapses = silent_from + np.fmax(PATIENCE, patience(history.cadence)) * DAY
    if CHURNED in history.signals:
        churned = history.signals[CHURNED].last
        lapses = np.where(churned >= silent_from, np.fmin(churned, lapses), lapses)
    return np.asarray(lapses)


def state_of(history: History, at: float | Floats) -> NDArray[np.int8]:
    """Index into STATES: new before any engagement, active while silent for no longer than is usual, else lapsed.

    Who has churned by the account's own word is lapsed until engaged again.
    """
    engaged = np.where(days(at, history.last_active) <= patience(history.cadence), ACTIVE, LAPSED)
    state = np.where(np.isnan(history.last_active), NEW, engaged)
    if CHURNED in history.signals:
        churned = history.signals[CHURNED].last
        state[~np.isnan(churned) & ~(history.last_active > churned)] = LAPSED
    return np.asarray(state.astype(np.int8))
