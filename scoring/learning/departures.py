"""Absences: silences of customers who lapsed, whether they stayed away, and their risk on the days before.

A customer has lapsed when the silence since the last use is longer than is usual for them (`states.lapse_time`), or
with the account's own event that means churn. One who then stays away until a whole horizon is over has left; one who
comes back within it has not.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.events import CHURNED
from scoring.features import own_horizons
from scoring.group_by import Times
from scoring.history import history_of
from scoring.learning.outcomes import use_of
from scoring.learning.past_models import PastModels, score_past, split
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup
from scoring.states import LAPSED, PATIENCE, lapse_time

MOST_BEFORE: Final = 60  # days before a customer left, as of which a risk is kept
MOST_PAIRS: Final = 150_000  # of departures and days before them; beyond, days are left out
_AT_A_TIME: Final = 20_000  # absences
NO_RISK: Final = float("nan")


class Absences(NamedTuple):
    """Silences that made customers (indices of the rollup) lapsed; arrays of one length, in epoch seconds.

    `began` is the last use before, `left_at` when it made the customer lapsed, `known_at` when a whole horizon of it is
    over, `ended` the next use: infinite without one.
    """

    customer: NDArray[np.intp]
    began: Floats
    left_at: Floats
    known_at: Floats
    ended: Floats

    def where(self, rows: NDArray[np.bool_]) -> "Absences":
        """A selection of the departures."""
        return self._replace(**{name: column[rows] for name, column in self._asdict().items()})


def find_absences(rollup: Rollup, now: float, horizon_days: int) -> Absences:
    """Every silence up to `now` (epoch seconds) that was longer than is usual for its customer."""
    rows = rollup.where(rollup.of(use_of(rollup)), "last_at")
    order = np.lexsort((rows.last_at, rows.customer))
    customer, began = rows.customer[order].astype(np.intp), rows.last_at[order]
    ended = np.full(len(began), np.inf)
    same = customer[1:] == customer[:-1]
    ended[:-1][same] = began[1:][same]
    churned = Times.of(rollup, (CHURNED,))
    long = (np.minimum(ended, now) - began > PATIENCE * DAY) | churned.within(customer, began, np.minimum(ended, now))
    customer, began, ended = customer[long], began[long], ended[long]
    left_at, known_at = _find_lapses(rollup, customer, began, horizon_days)
    first = churned.first(customer, began)
    is_sent = first < np.minimum(left_at, ended)
    left_at, known_at = np.where(is_sent, first, left_at), np.where(is_sent, first, known_at)
    return Absences(customer, began, left_at, known_at, ended).where((left_at < ended) & (left_at <= now))


def find_outcomes(absences: Absences, now: float, pauses: Iterable[Pause]) -> Floats:
    """1 where the customer stayed away for the whole horizon, 0 for a return within it; NaN where that is open, or an
    outage of tracking hides it."""
    stayed = (absences.ended > absences.known_at) & (absences.known_at <= now)
    outcome = np.where(stayed, 1.0, np.where(absences.ended <= absences.known_at, 0.0, np.nan))
    hidden = overlap(absences.began, np.minimum(absences.known_at, absences.ended), pauses)
    return np.where(hidden, np.nan, outcome)


def score_before(
    rollup: Rollup,
    absences: Absences,
    horizon_days: int,
    models: PastModels,
    pauses: Sequence[Pause],
    progress: Callable[[], None],
) -> Floats:
    """(absences, MOST_BEFORE): the risk 1 … MOST_BEFORE days before each customer lapsed, as of midnights (UTC).

    NaN where there was no such customer yet, or one who had lapsed: the list of customers at risk had no such line.
    """
    risks = np.full((len(absences.customer), MOST_BEFORE), NO_RISK)
    first = np.full(rollup.customers, np.inf)
    np.minimum.at(first, rollup.customer, rollup.last_at)
    lapsed_on = np.ceil(absences.left_at / DAY) * DAY
    every = 1 + len(absences.customer) * MOST_BEFORE // MOST_PAIRS
    for days in range(MOST_BEFORE, 0, -1):
        progress()
        if days % every and days < MOST_BEFORE:
            risks[:, days - 1] = risks[:, days]  # the risk of the day before, which was known then
            continue
        at = lapsed_on - days * DAY
        there = np.flatnonzero(first[absences.customer] <= at)
        scores = score_past(rollup, absences.customer[there], at[there], horizon_days, models, pauses)
        risks[there, days - 1] = np.where(scores.state == LAPSED, NO_RISK, scores.probability)
    return risks


def overlap(began: Floats, ended: Floats, pauses: Iterable[Pause]) -> NDArray[np.bool_]:
    """Returns True for each stretch of time that overlaps a pause."""
    out = np.zeros(len(began), dtype=bool)
    for pause in pauses:
        out |= (began < pause.ended) & (ended > pause.began)
    return out


def _find_lapses(rollup: Rollup, customer: NDArray[np.intp], began: Floats, horizon_days: int) -> tuple[Floats, Floats]:
    """Returns for each silence the times at which its customer is lapsed, and a whole horizon of it is over."""
    left_at, known_at = np.zeros(len(customer)), np.zeros(len(customer))
    for part in split(np.arange(len(customer)), _AT_A_TIME):
        history = history_of(rollup.at(customer[part], began[part]), began[part])
        left_at[part] = lapse_time(history, horizon_days)
        known_at[part] = began[part] + own_horizons(history, horizon_days) * DAY
    return left_at, np.maximum(left_at, known_at)
