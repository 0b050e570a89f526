"""Open matters: a refund request, an unpaid trial, a downgrade to a free plan. They keep the risk up despite activity.

| matter | open | floor of the risk |
|---|---|---|
| `refund_requested` | until a renewal, or 14 days of use later | 0.5 |
| `trial_ended` | a trial that nobody paid for, until a payment, or 30 days of use later | 0.25 |
| `subscription_downgraded` | to a free plan, until an upgrade or a payment, or 30 days of use later | 0.5 |

Activity says nothing against these: a daily user who asks for the money back is about to leave. They are too rare to be
learnt, so the floors are judgement, and several at once add up as independent chances do: two of 0.5 to 0.75. The end
of a trial weighs less: some accounts end trials of customers who pay elsewhere, or later. Days of use are counted up to
the last engagement, so a floor never falls away in silence.
"""

from typing import Final

import numpy as np

from scoring.events import PAYMENTS
from scoring.history import History
from scoring.prior import days
from scoring.rollup import DAY, Floats

FLOORS: Final = {"refund_requested": 0.5, "trial_ended": 0.25, "subscription_downgraded": 0.5}
REFUND_DAYS: Final = 14.0
TRIAL_DAYS: Final = 30.0
EARLY: Final = 14 * DAY  # a payment so long before the end of the trial pays for the time after it
FREE_DAYS: Final = 30.0
MATTERS: Final = tuple(FLOORS)


def open_matters(history: History) -> dict[str, Floats]:
    """Returns the beginning of each open matter (epoch seconds), NaN without one; by its signal, arrays of length
    customers."""
    paid = np.fmax.reduce([_last(history, event) for event in PAYMENTS])
    refund, ended, downgraded = (_last(history, matter) for matter in MATTERS)
    return {
        "refund_requested": _open(history, refund, REFUND_DAYS, refund, _last(history, "subscription_renewed")),
        "trial_ended": _open(history, ended, TRIAL_DAYS, ended - EARLY, paid),
        "subscription_downgraded": np.where(
            history.free, _open(history, downgraded, FREE_DAYS, downgraded, paid), np.nan
        ),
    }


def floors(history: History) -> Floats:
    """-log(1 - floor) of each open matter, (customers, MATTERS): they add up, and 0 stands for no matter."""
    matters = open_matters(history)
    there = np.column_stack([~np.isnan(matters[matter]) for matter in MATTERS])
    return np.asarray(there * -np.log1p(-np.array(list(FLOORS.values()))))


def _open(history: History, since: Floats, use_days: float, settled_from: Floats, settled: Floats) -> Floats:
    ended = (days(history.seen, since) > use_days) | (settled > settled_from)
    return np.where(ended, np.nan, since)


def _last(history: History, event: str) -> Floats:
    signal = history.signals.get(event)
    return np.full(len(history.first), np.nan) if signal is None else signal.last
