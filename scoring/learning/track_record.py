"""The track record: of the customers who left, how many had been flagged before; of those flagged, how many left.

A customer left when a horizon had passed without use, or by the account's own word that means churn; that is what a
risk foretells. Every risk is as of then: computed from what had happened by that instant, by the model that the account
would have had. Models are learnt anew every MODEL_DAYS from what was known until then, each judged against the one
before, as a training does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.events import CHURNED, ENGAGEMENT
from scoring.group_by import Times
from scoring.learning.training import learn
from scoring.model import PRIOR, Model
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup
from scoring.score import risks_at

LONGEST_DAYS: Final = 365  # back from now
MOST_BEFORE: Final = 60  # days before a customer left, as of which a risk is kept
FLAG_DAYS: Final = 7  # a list a week
MODEL_DAYS: Final = 90
MOST_PAIRS: Final = 300_000  # of departures and days before them; beyond, days are left out
_CHUNK_ROWS: Final = 2_000_000  # of the rollup, expanded at a time
NO_RISK: Final = float("nan")


class Departures(NamedTuple):
    """Customers (indices of the rollup) who left, when (epoch seconds), and their risks on the days before.

    `risks` has a column for each of 1 … MOST_BEFORE days before; NaN where the customer was none yet.
    """

    customer: NDArray[np.intp]
    left_at: Floats
    risks: Floats


class Flags(NamedTuple):
    """Risks of at least a bound on a day of the weekly list, and when the customer left; NaN: came back instead."""

    customer: NDArray[np.intp]
    at: Floats
    risk: Floats
    left_at: Floats


class TrackRecord(NamedTuple):
    """What a track record is counted from. `since` is the first event; None without any."""

    since: float | None
    departures: Departures
    flags: Flags


class _Engagement(NamedTuple):
    """Each day of use of each customer, in order, and the next one; infinite for the last."""

    customer: NDArray[np.intp]
    at: Floats
    following: Floats
    times: Times
    churned: Times


class _Models(NamedTuple):
    """The model of each stretch of time; the first is in use before the first boundary."""

    boundaries: Floats
    models: list[Model]


def track(
    rollup: Rollup,
    now: float,
    horizon_days: int,
    least_risk: float,
    *,
    pauses: Sequence[Pause] = (),
    progress: Callable[[], None] = lambda: None,
) -> TrackRecord:
    """Compute an account's track record as of `now` (epoch seconds); flags are risks of at least `least_risk`.

    `progress` is called now and then. What overlaps an outage of tracking says nothing and is left out.
    """
    rollup = rollup.until(now)
    since = float(rollup.last_at.min()) if len(rollup.day) else None
    engagement = _read_engagement(rollup)
    models = _learn_models(rollup, now, horizon_days, pauses, since, progress)
    left = _find_departures(engagement, now, horizon_days, pauses)
    risks = _risks_before(rollup, left, horizon_days, models, pauses, progress)
    flags = _find_flags(rollup, engagement, now, horizon_days, least_risk, models, pauses, progress)
    return TrackRecord(since, Departures(*left, risks), flags)


def _read_engagement(rollup: Rollup) -> _Engagement:
    rows = rollup.where(rollup.of(ENGAGEMENT), "last_at")
    order = np.lexsort((rows.last_at, rows.customer))
    customer, at = rows.customer[order].astype(np.intp), rows.last_at[order]
    following = np.full(len(at), np.inf)
    same = customer[1:] == customer[:-1]
    following[:-1][same] = at[1:][same]
    return _Engagement(customer, at, following, Times.of(rollup, ENGAGEMENT), Times.of(rollup, (CHURNED,)))


def _left_at(engagement: _Engagement, customer: NDArray[np.intp], last: Floats, horizon_days: int) -> Floats:
    """When a customer last active then has left, if no use follows."""
    silent = last + horizon_days * DAY
    told = engagement.churned.within(customer, last, silent)
    return np.where(told, engagement.churned.last(customer, silent), silent)


def _find_departures(
    engagement: _Engagement, now: float, horizon_days: int, pauses: Sequence[Pause]
) -> tuple[NDArray[np.intp], Floats]:
    customer, last = engagement.customer, engagement.at
    left_at = _left_at(engagement, customer, last, horizon_days)
    left = (engagement.following > left_at) & (left_at <= now) & (left_at > now - LONGEST_DAYS * DAY)
    left &= ~_overlap(last, left_at, pauses)
    return customer[left], left_at[left]


def _find_flags(
    rollup: Rollup,
    engagement: _Engagement,
    now: float,
    horizon_days: int,
    least_risk: float,
    models: _Models,
    pauses: Sequence[Pause],
    progress: Callable[[], None],
) -> Flags:
    """The weekly lists of the past whose outcome is known, of customers who had not left."""
    everybody, parts = np.arange(rollup.customers), []
    for at in _list_days(rollup, now):
        progress()
        instants = np.full(rollup.customers, at)
        last = engagement.times.last(everybody, instants)
        left_at = _left_at(engagement, everybody, last, horizon_days)
        came_back = engagement.times.within(everybody, instants, np.minimum(left_at, now))
        there = np.isfinite(last) & (left_at > at) & (came_back | (left_at <= now))
        there &= ~_overlap(last, np.where(np.isfinite(left_at), left_at, at), pauses)
        who = np.flatnonzero(there)
        risk = _risks(rollup, who, instants[who], horizon_days, models, pauses)
        flagged = risk >= least_risk
        outcome = np.where(came_back[who], np.nan, left_at[who])[flagged]
        parts.append((who[flagged], instants[who][flagged], risk[flagged], outcome))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 4
    return Flags(columns[0].astype(np.intp), *columns[1:])


def _list_days(rollup: Rollup, now: float) -> Iterator[float]:
    if not len(rollup.day):
        return
    first = max(float(rollup.last_at.min()), now - (LONGEST_DAYS + MOST_BEFORE) * DAY)
    yield from np.arange(now - DAY, first, -FLAG_DAYS * DAY).tolist()


def _risks_before(
    rollup: Rollup,
    left: tuple[NDArray[np.intp], Floats],
    horizon_days: int,
    models: _Models,
    pauses: Sequence[Pause],
    progress: Callable[[], None],
) -> Floats:
    customer, left_at = left
    risks = np.full((len(customer), MOST_BEFORE), NO_RISK)
    first = np.full(rollup.customers, np.inf)
    np.minimum.at(first, rollup.customer, rollup.last_at)
    every = 1 + len(customer) * MOST_BEFORE // MOST_PAIRS
    for days in range(MOST_BEFORE, 0, -1):
        progress()
        if days % every and days < MOST_BEFORE:
            risks[:, days - 1] = risks[:, days]  # the risk of the day before, which was known then
            continue
        at = left_at - days * DAY
        known = np.flatnonzero(first[customer] <= at)
        risks[known, days - 1] = _risks(rollup, customer[known], at[known], horizon_days, models, pauses)
    return risks


def _risks(
    rollup: Rollup,
    customer: NDArray[np.intp],
    at: Floats,
    horizon_days: int,
    models: _Models,
    pauses: Sequence[Pause],
) -> Floats:
    """The risks as of instants, each by the model of its time."""
    out = np.zeros(len(customer))
    stretch = np.searchsorted(models.boundaries, at, side="right")
    mean = max(1, len(rollup.day) // max(rollup.customers, 1))
    for number in np.unique(stretch).tolist():
        for part in _parts(np.flatnonzero(stretch == number), max(1, _CHUNK_ROWS // mean)):
            out[part], _ = risks_at(rollup, customer[part], at[part], horizon_days, models.models[number], pauses)
    return out


def _parts(places: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _learn_models(
    rollup: Rollup,
    now: float,
    horizon_days: int,
    pauses: Sequence[Pause],
    since: float | None,
    progress: Callable[[], None],
) -> _Models:
    """The models that the account would have had: each learnt from what was known at its boundary."""
    first = now if since is None else max(since + horizon_days * DAY, now - (LONGEST_DAYS + MOST_BEFORE) * DAY)
    boundaries = np.arange(now - DAY, first, -MODEL_DAYS * DAY)[::-1]
    models = [PRIOR]
    for boundary in boundaries.tolist():
        progress()
        known = [Pause(pause.began, min(pause.ended, boundary)) for pause in pauses if pause.began < boundary]
        models.append(learn(rollup, boundary, models[-1], horizon_days=horizon_days, pauses=known).training.model)
    return _Models(boundaries, models)


def _overlap(began: Floats, ended: Floats, pauses: Iterable[Pause]) -> NDArray[np.bool_]:
    out = np.zeros(len(began), dtype=bool)
    for pause in pauses:
        out |= (began < pause.ended) & (ended > pause.began)
    return out
