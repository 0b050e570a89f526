"""History → features: the columns that a model's terms read, at any instant from the history's own on.

Three kinds keep the risk from falling in silence, whatever the size of the weights:

- `rising` ones (silence, a wait for a renewal) only rise with time, and carry weights of at least 0;
- `fading` ones (a renewal, a promoter's answer) only fall with time, and carry weights of at most 0;
- all others stand still: their clock stops at the last engagement, so that a complaint counts in full until the
  customer has been back for a while.

A fourth kind, the negative ones, carry weights of at least 0, so that no bad signal ever lowers a risk.

Counts enter as log2(1 + min(count, 3)): the first says most.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from scoring.events import CHURNED
from scoring.feature_use import PLAN, USES
from scoring.history import CUSTOM_HALF_LIFE, EVENT, PAID, SIGNAL_HALF_LIFE, History
from scoring.look_back import LOOK_BACK
from scoring.prior import QUITTING, days, no_return, rates
from scoring.rhythm import BILL_DAYS
from scoring.rollup import DAY, Floats


class View:
    """Histories at an instant (epoch seconds), over a horizon (days); each of these is one for all, or one each.

    What several features share is computed once, and what stands still in silence is handed on to later views.
    """

    def __init__(
        self,
        history: History,
        at: float | Floats,
        horizon_days: float | Floats,
        lasting: tuple[Floats, Floats, NDArray[np.bool_]] | None = None,
        *,
        fixed: bool = False,
    ) -> None:
        """`lasting` are `tenure`, `standing` and `slow`, where an earlier view has them. `fixed` horizons are those of
        a backtest: the same for all, however slow their rhythm."""
        self.history, self.at, self.horizon_days, self.fixed = history, at, horizon_days, fixed
        if lasting is not None:
            self.tenure, self.standing, self.slow = lasting

    @cached_property
    def tenure(self) -> Floats:
        """Days up to the last engagement of which it is known whether they were active."""
        return np.minimum(days(self.history.seen, self.history.began), LOOK_BACK)

    @cached_property
    def silent(self) -> Floats:
        """Days since the last engagement, or other sign of life; since the first event where there was none; without
        any event, all that a risk looks back on: nothing ever came from a customer whom somebody asks about."""
        first, seen = self.history.first, self.history.seen
        silent = days(self.at, np.where(np.isnan(seen), first, seen))
        return np.where(np.isnan(first), float(LOOK_BACK), silent)

    @cached_property
    def standing(self) -> Floats:
        """The day-one formula's log-odds at the last engagement."""
        return self._no_return(np.zeros(len(self.history.first)))

    @cached_property
    def quitting(self) -> Floats:
        """The part of `standing` for leaving right after an active day."""
        return self.standing - self._no_return(np.zeros(len(self.history.first)), quitting=0.0)

    @cached_property
    def risen(self) -> Floats:
        """The amount that the time since then has added to those log-odds; below 0 for slow customers alone."""
        risen = self._no_return(self.silent) - self.standing
        return np.where(self.slow, risen, np.maximum(risen, 0.0))

    @cached_property
    def slow(self) -> NDArray[np.bool_]:
        """The customers for whom the horizon is short: their next visit may lie beyond it. In training and where risks
        are served, the horizon is their own and there are none; in backtests it is the same for all."""
        return np.asarray(self.horizon_days < VISITS * _slowness(self.history))

    def later(self, at: float | Floats) -> Self:
        """The same customers at another instant, nothing but time having passed."""
        lasting = self.tenure, self.standing, self.slow
        return type(self)(self.history, at, self.horizon_days, lasting, fixed=self.fixed)

    def take(self, rows: NDArray[Any]) -> Self:
        """A selection of the customers, at one instant for all."""
        horizon_days = np.broadcast_to(self.horizon_days, len(self.history.first))[rows]
        lasting = self.tenure[rows], self.standing[rows], np.broadcast_to(self.slow, len(self.history.first))[rows]
        return type(self)(self.history.take(rows), self.at, horizon_days, lasting, fixed=self.fixed)

    def _no_return(self, silence: Floats, quitting: float = QUITTING) -> Floats:
        past = self.history
        return no_return(
            past.active,
            past.active_days,
            self.tenure,
            silence,
            self.horizon_days,
            past.rhythm,
            self.slow,
            quitting,
        )


Reader = Callable[[View], Floats]

OLD_TICKET: Final = 7.0  # days
COUNT_CAP: Final = 3.0
LATEST: Final = 20.0  # own cadences, or own longest gaps
LONGEST_WAIT: Final = 400.0  # days for a renewal or payment, a bit more than a year
REGULAR: Final = 3  # active days, from which on a cadence is known well enough to ask for more than the horizon …
PAIR: Final = 2  # … and to learn, where the horizon stays, how much of a single gap it covers
VISITS: Final = 2.0  # own cadences that the horizon of a slow customer covers at least
HORIZONS: Final = np.array([14.0, 30.0, 60.0, 90.0, 180.0, 365.0, 730.0])  # days: a customer's own is one of these
QUARTER: Final = 90.0  # days: cadences from here on count as this …
SLOWEST: Final = 120.0  # … to here: a quarter has 89 to 92 days, and half a year covers two

FADING: Final = frozenset(
    {"subscription_renewed", "subscription_upgraded", "support_ticket_resolved", "invoice_paid", "promoter"}
)
WAITS: Final = {"since_renewal": "subscription_renewed", "since_payment": "invoice_paid"}  # the event waited for
RISING: Final = frozenset({"silence", "lateness", "beyond", "ticket_waiting", "recency", *WAITS})
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
"""Features that no model may count in a customer's favour."""


SEASON: Final = "season"
BACK_BY: Final = "back_by"  # a column of backtests
_YEAR: Final = 365.2425  # days
_SIGNALS: Final = {
    "trend": "activity",
    "detractor": "nps_response",
    "promoter": "nps_response",
    "promoters": "nps_response",
    "ticket_waiting": "support_ticket_opened",
    "lateness": "silence",
    "beyond": "silence",
    "frequency": "newcomer",
    PAID: "activity",
    "signs": "newcomer",
    "signs_cadence": "cadence",
    "due": "cadence",
    BACK_BY: "cadence",
    "quitting": "newcomer",
    "invoices_missed": "invoice_overdue",
    **WAITS,
}


def signal_of(feature: str) -> str:
    """Returns the name under which a feature is reported: its event where it has one."""
    if feature.startswith((USES, PLAN)):
        return "feature_used" if feature.startswith(USES) else "plan"
    return _SIGNALS.get(feature, feature.removeprefix(EVENT))


def read(feature: str, view: View) -> Floats:
    """One feature of every customer; 0 where the account never sends its event."""
    reader = _READERS.get(feature)
    if reader:
        return reader(view)
    if feature in view.history.asked:
        return damp(view.history.asked[feature])
    return _event(feature.removeprefix(EVENT), view)


def lateness(view: View) -> Floats:
    """log(1 + silence / own cadence), up to that of LATEST cadences; where there is none yet, of 30 days."""
    return np.asarray(np.log1p(np.minimum(view.silent / _usual(view.history.cadence), LATEST)))


def beyond(view: View) -> Floats:
    """log(1 + silence / longest own gap so far), up to that of LATEST gaps; of 30 days where there is none yet."""
    longest = view.history.longest
    return np.asarray(np.log1p(np.minimum(view.silent / np.where(np.isnan(longest), 30.0, longest), LATEST)))


def since(feature: str, view: View) -> Floats:
    """Days since the last renewal or payment, since the first event where there was none; at most LONGEST_WAIT.

    Notice is given as a term ends, and a renewal that does not come is one: both are known only by the days since.
    """
    signal = view.history.signals.get(WAITS[feature])
    last = view.history.first if signal is None else np.fmax(view.history.first, signal.last)
    return np.minimum(days(view.at, last), LONGEST_WAIT)


def newcomer(view: View) -> Floats:
    """1 / active days so far, one of them the weakest evidence that there is; 0 before the first. Without any event it
    is 1, too."""
    active_days = view.history.active_days
    begun = (active_days > 0) | np.isnan(view.history.first)
    return np.asarray(np.where(begun, 1.0 / np.maximum(active_days, 1.0), 0.0))


def due(view: View) -> Floats:
    """The number of own cadences between the last visit and the end of the horizon, at most VISITS.

    Where the horizon is a customer's own (`own_horizons`), as in training and in all risks that are served, it covers
    so many, and this stands still in silence. Over a shorter one, in backtests, a slow customer who was just here is
    not expected back yet, and later is: held still there, it costs .010 AUC on a grocer's log, and another .004 unless
    a single gap counts as a cadence.
    """
    slowness = _slowness(view.history, PAIR if view.fixed else REGULAR)
    slowness = np.minimum(slowness, QUARTER)  # of slower ones, too few are known to learn from
    return np.asarray(np.minimum((view.silent + view.horizon_days) / slowness, VISITS))


def back_by(view: View) -> Floats:
    """The number of own longest gaps between the last visit and the end of the horizon, at most VISITS.

    Customers who come in stints, a few days each season, have a short cadence and long gaps. This is for backtests
    alone, like `due` with a single gap: where a horizon is a customer's own, it stands still.
    """
    longest = np.nan_to_num(view.history.longest)
    if not view.fixed:
        return np.full(len(longest), VISITS)
    gap = np.where(VISITS * longest > view.horizon_days, np.clip(longest, 1.0, SLOWEST), np.nan)
    return np.fmin((view.silent + view.horizon_days) / gap, VISITS)


def own_horizons(history: History, horizon_days: float | Floats) -> Floats:
    """Each customer's horizon (days): the account's, or a longer one that covers twice the own cadence."""
    least = np.minimum(VISITS * _slowness(history), HORIZONS[-1])
    longer = HORIZONS[np.minimum(np.searchsorted(HORIZONS, least - 1e-9), len(HORIZONS) - 1)]
    return np.where(least <= horizon_days, horizon_days, longer)


def _slowness(history: History, regular: int = REGULAR) -> Floats:
    """The cadence in days, where it is known and slow enough to matter: from 1 to half of the longest horizon. It is
    known from so many active days on; bills are taken to come by the month until a second one has come."""
    cadence = np.where(history.billed & (history.active_days == 1), BILL_DAYS, history.cadence)
    least = np.where(history.billed, 1, regular)
    own = np.where(cadence <= SLOWEST, np.minimum(cadence, QUARTER), np.minimum(cadence, HORIZONS[-1] / VISITS))
    return np.where((history.active_days >= least) & ~np.isnan(cadence), np.maximum(own, 1.0), 1.0)


def _usual(cadence: Floats) -> Floats:
    return np.where(np.isnan(cadence), 30.0, np.maximum(cadence, 1.0))


def ticket_waiting(view: View) -> Floats:
    """1 where a ticket has been open for over 7 days."""
    return (days(view.at, view.history.oldest_ticket) > OLD_TICKET).astype(float)


def detractor(view: View) -> Floats:
    """1 for a last NPS score of 0 to 6, halving every 90 days up to the last engagement."""
    return _score_fades(view.history.nps <= 6, view.history.seen, view.history)


def promoter(view: View) -> Floats:
    """1 for a last NPS score of 9 or 10, halving every 90 days."""
    return _score_fades(view.history.nps >= 9, view.at, view.history)


def _score_fades(such: NDArray[np.bool_], until: float | Floats, history: History) -> Floats:
    return np.where(such, np.exp2(-days(until, history.nps_at) / SIGNAL_HALF_LIFE["nps_response"]), 0.0)


def tenure(view: View) -> Floats:
    """log(1 + days) from the first event to the last engagement."""
    return np.asarray(np.log1p(days(view.history.last_active, view.history.first)))


def cadence(view: View) -> Floats:
    """log of the median days from active day to active day; of 30 where there is none yet."""
    return np.asarray(np.log(_usual(view.history.cadence)))


def trend(view: View) -> Floats:
    """log of the rate of active days in the last week or so over that of the last quarter, at the last engagement."""
    rate = rates(view.history.active, view.tenure)
    return np.asarray(np.log(rate[:, 0] / rate[:, -1]))


def session(view: View) -> Floats:
    """log(1 + minutes) of an active day, by `duration_seconds`."""
    history = view.history
    return np.asarray(np.log1p(history.duration[:, 1] / np.maximum(history.active[:, 1], 1.0) / 60.0))


def season(view: View) -> Floats:
    """The day of the year, 0 to 365, of the last engagement. The year goes on in silence, but this stands still, so
    that no risk falls as spring nears."""
    seen = np.where(np.isnan(view.history.seen), view.history.first, view.history.seen)
    return np.asarray(np.nan_to_num(seen) / DAY % _YEAR)


def damp(count: Floats) -> Floats:
    """log2(1 + min(count, 3)): 0 → 0, 1 → 1, 3 and more → 2."""
    return np.asarray(np.log2(1.0 + np.minimum(count, COUNT_CAP)))


def _event(name: str, view: View) -> Floats:
    signal = view.history.signals.get(name)
    if signal is None:
        return np.zeros(len(view.history.first))
    if name not in FADING:
        return damp(signal.frozen)
    half_life = SIGNAL_HALF_LIFE.get(name, CUSTOM_HALF_LIFE)
    return damp(signal.fading * np.exp2(-days(view.at, signal.last) / half_life))


_READERS: Final[dict[str, Reader]] = {
    "activity": lambda view: view.standing,
    "silence": lambda view: view.risen,
    "lateness": lateness,
    "beyond": beyond,
    "newcomer": newcomer,
    "quitting": lambda view: view.quitting,
    "due": due,
    BACK_BY: back_by,
    "ticket_waiting": ticket_waiting,
    "detractor": detractor,
    "promoter": promoter,
    "tenure": tenure,
    "cadence": cadence,
    "signs": lambda view: np.asarray(np.log1p(view.history.signs.days)),
    "signs_cadence": lambda view: np.asarray(np.log(_usual(view.history.signs.cadence))),
    "trend": trend,
    "session": session,
    "season": season,
    **{feature: partial(since, feature) for feature in WAITS},
    "recency": lambda view: np.asarray(np.log1p(view.silent)),
    "frequency": lambda view: np.asarray(np.log1p(view.history.active_days)),
    PAID: lambda view: np.asarray(np.log1p(view.history.paid_days)),
    "breadth": lambda view: np.asarray(np.log1p(view.history.breadth)),
    "churned": lambda view: _event(CHURNED, view),
    "promoters": lambda view: damp(view.history.promoters),
    "invoices_missed": lambda view: _event("invoice_overdue", view),
    "invoice_overdue": lambda view: damp(view.history.overdue),
    "support_ticket_opened": lambda view: damp(view.history.open_tickets),
}
