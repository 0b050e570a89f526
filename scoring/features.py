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

Reader = Callable[[History, float | Floats, float], Floats]

OLD_TICKET: Final = 7.0  # days
COUNT_CAP: Final = 3.0

FADING: Final = frozenset(
    {"subscription_renewed", "subscription_upgraded", "support_ticket_resolved", "invoice_paid", "promoter"}
)
RISING: Final = frozenset({"silence", "ticket_waiting", "recency"})
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
    "invoices_missed": "invoice_overdue",
}


def signal_of(feature: str) -> str:
    """What a feature is reported under: its event where it has one."""
    if feature.startswith((USES, PLAN)):
        return "feature_used" if feature.startswith(USES) else "plan"
    return _SIGNALS.get(feature, feature.removeprefix(EVENT))


def read(feature: str, history: History, at: float | Floats, horizon_days: float) -> Floats:
    """One feature of every customer at an instant (epoch seconds); 0 where the account never sends its event."""
    reader = _READERS.get(feature)
    if reader:
        return reader(history, at, horizon_days)
    if feature in history.asked:
        return damp(history.asked[feature])
    return _event(feature.removeprefix(EVENT), history, at)


def activity(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """The day-one formula's log-odds at the last engagement or, of who has never been engaged, other sign of life."""
    tenure = _known(history)
    return no_return(history.active, tenure, np.zeros(len(tenure)), horizon_days)


def silence(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """What the time since then has added to those log-odds; never below 0."""
    tenure = _known(history)
    since = days(at, np.where(np.isnan(history.seen), history.first, history.seen))
    now = no_return(history.active, tenure, since, horizon_days)
    return np.maximum(now - activity(history, at, horizon_days), 0.0)


def _known(history: History) -> Floats:
    """Days up to the last engagement of which it is known whether they were active."""
    return np.minimum(days(history.seen, history.began), LOOK_BACK)


def ticket_waiting(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """1 where a ticket has been open for over 7 days."""
    return (days(at, history.oldest_ticket) > OLD_TICKET).astype(float)


def detractor(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """1 for a last NPS score of 0 to 6, halving every 90 days up to the last engagement."""
    age = days(history.seen, history.nps_at)
    return np.where(history.nps <= 6, np.exp2(-age / SIGNAL_HALF_LIFE["nps_response"]), 0.0)


def promoter(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """1 for a last NPS score of 9 or 10, halving every 90 days."""
    age = days(at, history.nps_at)
    return np.where(history.nps >= 9, np.exp2(-age / SIGNAL_HALF_LIFE["nps_response"]), 0.0)


def tenure(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """log(1 + days) from the first event to the last engagement."""
    return np.asarray(np.log1p(days(history.last_active, history.first)))


def cadence(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """log of the median days from active day to active day; of 30 where there is none yet."""
    return np.asarray(np.log(np.where(np.isnan(history.cadence), 30.0, history.cadence)))


def trend(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """log of the rate of active days in the last week or so over that of the last quarter, at the last engagement."""
    rate = rates(history.active, _known(history))
    return np.asarray(np.log(rate[:, 0] / rate[:, -1]))


def session(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """log(1 + minutes) of an active day, by `duration_seconds`."""
    return np.asarray(np.log1p(history.duration[:, 1] / np.maximum(history.active[:, 1], 1.0) / 60.0))


def recency(history: History, at: float | Floats, horizon_days: float) -> Floats:
    """log(1 + days) since the last engagement, since the first event where there was none."""
    since = np.where(np.isnan(history.seen), history.first, history.seen)
    return np.asarray(np.log1p(days(at, since)))


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
