"""History → features: the columns that a model's terms read, at any instant from the history's own on.

Three kinds keep the risk from falling in silence, whatever the size of the weights:

- `rising` ones (silence, a ticket that waits) only rise with time, and carry weights of at least 0;
- `fading` ones (a renewal, a promoter's answer) only fall with time, and carry weights of at most 0;
- all others stand still: their clock stops at the last engagement, so that a complaint counts in full until the
  customer has been back for a while.

A fourth kind, the negative ones, carry weights of at least 0, so that no bad signal ever lowers a risk.

Counts enter as log2(1 + min(count, 3)): the first says most.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from scoring.events import CHURNED
from scoring.feature_use import PLAN, USES
from scoring.history import CUSTOM_HALF_LIFE, EVENT, SIGNAL_HALF_LIFE, History, Signal
from scoring.look_back import LOOK_BACK
from scoring.prior import days, no_return, rates
from scoring.rollup import Floats

Reader = Callable[[History, float | Floats, float | Floats], Floats]

OLD_TICKET: Final = 7.0  # days
COUNT_CAP: Final = 3.0
LATEST: Final = 20.0  # own cadences
REGULAR: Final = 3  # active days, from which on a cadence is known well enough to ask for more than the horizon
VISITS: Final = 2.0  # own cadences that the horizon of a slow customer covers at least
HORIZONS: Final = np.array([14.0, 30.0, 60.0, 90.0, 180.0])  # days: a customer's own is one of these

FADING: Final = frozenset(
    {"subscription_renewed", "subscription_upgraded", "support_ticket_resolved", "invoice_paid", "promoter"}
)
RISING: Final = frozenset({"silence", "lateness", "ticket_waiting", "recency"})
MOVING: Final = FADING | RISING
NEGATIVE: Final = frozenset(
    {
        "support_ticket_opened",
        "detractor",
        "refund_requested",
        "invoice_overdue",
        "invoices_missed",
        "subscription_downgraded",
        "churned",
    }
)
"""What no model may count in a customer's favour."""


_SIGNALS: Final = {
    "trend": "activity",
    "detractor": "nps_response",
    "promoter": "nps_response",
    "promoters": "nps_response",
    "ticket_waiting": "support_ticket_opened",
    "lateness": "silence",
    "due": "cadence",
    "invoices_missed": "invoice_overdue",
}


def signal_of(feature: str) -> str:
    """What a feature is reported under: its event where it has one."""
    if feature.startswith((USES, PLAN)):
        return "feature_used" if feature.startswith(USES) else "plan"
    return _SIGNALS.get(feature, feature.removeprefix(EVENT))


def read(feature: str, history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """One feature of every customer at an instant (epoch seconds); 0 where the account never sends its event."""
    reader = _READERS.get(feature)
    if reader:
        return reader(history, at, horizon_days)
    if feature in history.asked:
        return damp(history.asked[feature])
    return _event(feature.removeprefix(EVENT), history, at)


def activity(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """The day-one formula's log-odds at the last engagement or, of who has never been engaged, other sign of life."""
    tenure = _known(history)
    return no_return(history.active, history.active_days, tenure, np.zeros(len(tenure)), horizon_days)


def silence(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """What the time since then has added to those log-odds; never below 0."""
    tenure = _known(history)
    now = no_return(history.active, history.active_days, tenure, _silent(history, at), horizon_days)
    return np.maximum(now - activity(history, at, horizon_days), 0.0)


def lateness(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """log(1 + silence / own cadence), up to that of LATEST cadences; where there is none yet, of 30 days."""
    return np.asarray(np.log1p(np.minimum(_silent(history, at) / _cadence(history), LATEST)))


def newcomer(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """1 / active days so far; 0 before the first. One active day is the weakest evidence that there is."""
    return np.asarray(np.where(history.active_days > 0, 1.0 / np.maximum(history.active_days, 1.0), 0.0))


def due(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """How many own cadences lie between the last visit and the end of the horizon, at most VISITS.

    Where the horizon is a customer's own (`own_horizons`) it covers so many, and this stands still in silence. Over a
    shorter one a slow customer who was just here is not expected back yet, and later is.
    """
    return np.asarray(np.minimum((_silent(history, at) + horizon_days) / _slowness(history), VISITS))


def own_horizons(history: History, horizon_days: float) -> Floats:
    """Each customer's horizon (days): the account's, or a longer one that covers twice the own cadence."""
    least = np.minimum(VISITS * _slowness(history), HORIZONS[-1])
    longer = HORIZONS[np.minimum(np.searchsorted(HORIZONS, least - 1e-9), len(HORIZONS) - 1)]
    return np.where(least <= horizon_days, horizon_days, longer)


def _slowness(history: History) -> Floats:
    """The cadence in days, where it is known and slow enough to matter: from 1 to half of the longest horizon."""
    known = (history.active_days >= REGULAR) & ~np.isnan(history.cadence)
    return np.where(known, np.clip(history.cadence, 1.0, HORIZONS[-1] / VISITS), 1.0)


def _silent(history: History, at: float | Floats) -> Floats:
    """Days since the last engagement, or other sign of life; since the first event where there was none."""
    return days(at, np.where(np.isnan(history.seen), history.first, history.seen))


def _cadence(history: History) -> Floats:
    return np.where(np.isnan(history.cadence), 30.0, np.maximum(history.cadence, 1.0))


def _known(history: History) -> Floats:
    """Days up to the last engagement of which it is known whether they were active."""
    return np.minimum(days(history.seen, history.began), LOOK_BACK)


def ticket_waiting(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """1 where a ticket has been open for over 7 days."""
    return (days(at, history.oldest_ticket) > OLD_TICKET).astype(float)


def detractor(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """1 for a last NPS score of 0 to 6, halving every 90 days up to the last engagement."""
    age = days(history.seen, history.nps_at)
    return np.where(history.nps <= 6, np.exp2(-age / SIGNAL_HALF_LIFE["nps_response"]), 0.0)


def promoter(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """1 for a last NPS score of 9 or 10, halving every 90 days."""
    age = days(at, history.nps_at)
    return np.where(history.nps >= 9, np.exp2(-age / SIGNAL_HALF_LIFE["nps_response"]), 0.0)


def tenure(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """log(1 + days) from the first event to the last engagement."""
    return np.asarray(np.log1p(days(history.last_active, history.first)))


def cadence(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """log of the median days from active day to active day; of 30 where there is none yet."""
    return np.asarray(np.log(_cadence(history)))


def trend(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """log of the rate of active days in the last week or so over that of the last quarter, at the last engagement."""
    rate = rates(history.active, _known(history))
    return np.asarray(np.log(rate[:, 0] / rate[:, -1]))


def session(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """log(1 + minutes) of an active day, by `duration_seconds`."""
    return np.asarray(np.log1p(history.duration[:, 1] / np.maximum(history.active[:, 1], 1.0) / 60.0))


def recency(history: History, at: float | Floats, horizon_days: float | Floats) -> Floats:
    """log(1 + days) since the last engagement, since the first event where there was none."""
    return np.asarray(np.log1p(_silent(history, at)))


def damp(count: Floats) -> Floats:
    """log2(1 + min(count, 3)): 0 → 0, 1 → 1, 3 and more → 2."""
    return np.asarray(np.log2(1.0 + np.minimum(count, COUNT_CAP)))


def _event(name: str, history: History, at: float | Floats) -> Floats:
    signal = history.signals.get(name)
    if signal is None:
        return np.zeros(len(history.first))
    return damp(_faded(name, signal, at) if name in FADING else signal.frozen)


def _faded(name: str, signal: Signal, at: float | Floats) -> Floats:
    half_life = SIGNAL_HALF_LIFE.get(name, CUSTOM_HALF_LIFE)
    return np.asarray(signal.fading * np.exp2(-days(at, signal.last) / half_life))


_READERS: Final[dict[str, Reader]] = {
    "activity": activity,
    "silence": silence,
    "lateness": lateness,
    "newcomer": newcomer,
    "due": due,
    "ticket_waiting": ticket_waiting,
    "detractor": detractor,
    "promoter": promoter,
    "tenure": tenure,
    "cadence": cadence,
    "trend": trend,
    "session": session,
    "recency": recency,
    "frequency": lambda history, at, horizon_days: np.asarray(np.log1p(history.active_days)),
    "breadth": lambda history, at, horizon_days: np.asarray(np.log1p(history.breadth)),
    "churned": lambda history, at, horizon_days: _event(CHURNED, history, at),
    "promoters": lambda history, at, horizon_days: damp(history.promoters),
    "invoices_missed": lambda history, at, horizon_days: _event("invoice_overdue", history, at),
    "invoice_overdue": lambda history, at, horizon_days: damp(history.overdue),
    "support_ticket_opened": lambda history, at, horizon_days: damp(history.open_tickets),
}
