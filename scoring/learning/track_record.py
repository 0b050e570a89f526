"""The track record: of the customers who left, how many had been flagged before; of those flagged, how many left.

Both sides are as of then. Risks come from what had happened by that day, by the model that the account would have had
(past_models.py). A flag is a line of a weekly list of the past: a customer who had not lapsed, at a risk of at least
some bound. It was right if the customer then did not use the product at all within the horizon of that risk. Customers
who left are those of departures.py.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.group_by import Times
from scoring.learning.churn_months import ChurnMonth, count_months
from scoring.learning.departures import MOST_BEFORE, find_absences, find_outcomes, overlap, score_before
from scoring.learning.outcomes import lapsed_within, use_of
from scoring.learning.past_models import PastModels, learn_past_models, score_past
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup
from scoring.states import ACTIVE, MOST_PATIENCE

LONGEST_DAYS: Final = 365  # back from now
KEPT_DAYS: Final = 400  # so that the first of twelve whole months is whole
LIST_DAYS: Final = 7  # a list a week


class Departures(NamedTuple):
    """Customers (indices of the rollup) who lapsed, when (epoch seconds), and their risks on the days before.

    `stayed_away` is 1 for those who left, 0 for those who came back within the horizon, NaN where that is open. `risks`
    has a column for each of 1 … MOST_BEFORE days before; NaN where the customer was on no list.
    """

    customer: NDArray[np.intp]
    left_at: Floats
    stayed_away: Floats
    risks: Floats


class Flags(NamedTuple):
    """Lines of the weekly lists (epoch seconds): a customer, the risk, and the outcome.

    `left` is True where the product was not used within the horizon after.
    """

    customer: NDArray[np.intp]
    at: Floats
    risk: Floats
    left: NDArray[np.bool_]


class TrackRecordSource(NamedTuple):
    """The source of a track record's counts. `since` is the first event; None without any."""

    since: float | None
    departures: Departures
    flags: Flags
    months: list[ChurnMonth]


def track(
    rollup: Rollup,
    now: float,
    horizon_days: int,
    least_risk: float,
    *,
    pauses: Sequence[Pause] = (),
    progress: Callable[[], None] = lambda: None,
) -> TrackRecordSource:
    """Compute an account's track record as of `now` (epoch seconds); flags are risks of at least `least_risk`.

    `progress` is called now and then. Times that overlap an outage of tracking are left out.
    """
    rollup = rollup.until(now).in_order()
    since = float(rollup.last_at.min()) if len(rollup.day) else None
    earliest = now - (LONGEST_DAYS + MOST_BEFORE) * DAY
    first = now if since is None else max(since + horizon_days * DAY, earliest)
    models = learn_past_models(rollup, first, now, horizon_days, pauses, progress)
    absences = find_absences(rollup, now, horizon_days)
    months = count_months(rollup, absences, now)
    late = (absences.left_at > now - KEPT_DAYS * DAY) & ~overlap(absences.began, absences.left_at, pauses)
    absences = absences.where(late)
    risks = score_before(rollup, absences, horizon_days, models, pauses, progress)
    departures = Departures(absences.customer, absences.left_at, find_outcomes(absences, now, pauses), risks)
    flags = _find_flags(rollup, now, horizon_days, least_risk, models, pauses, progress)
    return TrackRecordSource(since, departures, flags, months)


def _find_flags(
    rollup: Rollup,
    now: float,
    horizon_days: int,
    least_risk: float,
    models: PastModels,
    pauses: Sequence[Pause],
    progress: Callable[[], None],
) -> Flags:
    """The lines of all weekly lists whose outcome is known by now."""
    use, everybody = Times.of(rollup, use_of(rollup)), np.arange(rollup.customers)
    parts = []
    for at in _list_days(rollup, now, horizon_days):
        progress()
        instants = np.full(rollup.customers, at)
        last = use.last(everybody, instants)
        there = np.flatnonzero(at - last <= MOST_PATIENCE * DAY)
        scores = score_past(rollup, there, instants[there], horizon_days, models, pauses)
        until = at + scores.horizon_days * DAY
        flagged = (scores.state == ACTIVE) & (scores.probability >= least_risk) & (until <= now)
        flagged &= ~overlap(last[there], until, pauses)
        customer = there[flagged]
        parts.append((customer, instants[customer], scores.probability[flagged], scores.horizon_days[flagged]))
    if not parts:
        return Flags(np.zeros(0, np.intp), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    customer, listed_at, risk, horizons = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Flags(customer, listed_at, risk, lapsed_within(rollup, customer, listed_at, horizons) == 1)


def _list_days(rollup: Rollup, now: float, horizon_days: int) -> Iterator[float]:
    """The midnights (UTC) of the lists, the latest first."""
    if not len(rollup.day):
        return
    latest = (now // DAY - horizon_days) * DAY
    first = max(float(rollup.last_at.min()), latest - LONGEST_DAYS * DAY)
    yield from np.arange(latest, first, -LIST_DAYS * DAY).tolist()
