"""Scores customers: takes a rollup and an instant, and returns every customer's risk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.advice import Advice, advice_of
from scoring.facts import facts_of
from scoring.features import View, own_horizons
from scoring.history import History, history_of
from scoring.levels import NAMES, LevelBounds
from scoring.model import PRIOR, Model, points, sigmoid
from scoring.pauses import Pause, bridge
from scoring.reasons import Reason, reasons_of
from scoring.risk import Risks, hold, weigh
from scoring.rollup import DAY, Floats, Rollup
from scoring.states import ACTIVE, LAPSED, NEW, STATES, lapse_time, state_of

CONFIDENT: Final = 3  # active days from which on a history speaks for itself
_SECTIONS, _ROUNDS = 16, 5  # a day to a tenth of a second

DEFAULT_LEVELS: Final = LevelBounds()

__all__ = ["ACTIVE", "LAPSED", "NEW", "STATES", "PastScores", "Scores", "risks_at", "score", "scores_at"]


@dataclass(frozen=True, slots=True)
class Scores:
    """One entry a customer, in the rollup's order."""

    probability: Floats  # 0 to 1
    horizon_days: Floats  # over which the risk looks: the account's, or longer for a slow customer
    level: NDArray[np.intp]  # index into levels.NAMES
    state: NDArray[np.int8]  # index into STATES
    next_due: Floats  # epoch seconds: when silence alone next changes the level, at the latest in a day
    low_confidence: NDArray[np.bool_]
    baseline: float  # log-odds; with a row of contributions it adds up to the logit of the probability
    signals: tuple[str, ...]  # the columns of contributions
    contributions: Floats  # (customers, signals), log-odds
    reasons: list[list[Reason]]
    advice: list[Advice]
    plan: list[str | None]
    open_tickets: list[int]
    overdue_since: list[float | None]  # epoch seconds
    nps: list[int | None]
    lapsed_at: list[float | None]  # epoch seconds; None unless lapsed


def score(
    rollup: Rollup,
    now: float,
    *,
    levels: LevelBounds = DEFAULT_LEVELS,
    horizon_days: float = 30,
    model: Model = PRIOR,
) -> Scores:
    """The risk of every customer of the rollup as of `now` (epoch seconds); events after `now` are not looked at.

    A customer whose rhythm is slower than the horizon gets a longer one (`own_horizons`).
    Raises ValueError for a horizon of 0 or less, or an instant that is not finite.
    """
    if not (horizon_days > 0 and np.isfinite(horizon_days) and np.isfinite(now)):
        raise ValueError(f"horizon_days must be above 0 and now finite, not {horizon_days!r} and {now!r}")
    past = rollup.until(now)
    history = history_of(past, now, model.features)
    horizons = own_horizons(history, horizon_days)
    view = View(history, now, horizons)
    risk = weigh(model, view)
    probability, signals = risk.probability, risk.signals
    level = _level(probability, levels)
    state = state_of(history, now, probability, horizon_days)
    facts = facts_of(history, past, [STATES[code] for code in state.tolist()], now, horizons)
    shares = np.round(points(risk.baseline, risk.contributions), 2)
    return Scores(
        probability=probability,
        horizon_days=horizons,
        level=level,
        state=state,
        next_due=np.minimum(_next_due(view, risk, now, levels, model), _next_event(rollup, now)),
        low_confidence=history.active_days < CONFIDENT,
        baseline=risk.baseline,
        signals=signals,
        contributions=risk.contributions,
        reasons=reasons_of(signals, shares, facts),
        advice=advice_of(facts, [NAMES[code] for code in level.tolist()]),
        plan=[about.plan for about in facts],
        open_tickets=[about.open_tickets for about in facts],
        overdue_since=[about.overdue_since for about in facts],
        nps=[about.nps for about in facts],
        lapsed_at=_lapses(history, state, now, horizon_days),
    )


class PastScores(NamedTuple):
    """Arrays of one length: probability, state (index into STATES), and the days over which the risk looks."""

    probability: Floats
    state: NDArray[np.int8]
    horizon_days: Floats


def scores_at(
    rollup: Rollup,
    customers: NDArray[np.intp],
    instants: Floats,
    horizon_days: float,
    model: Model,
    pauses: Sequence[Pause] = (),
) -> PastScores:
    """The scores of each (customer, instant), arrays of one length, as they would have been at past instants.

    They come from the code that scores now; instants are epoch seconds, and events after them are not looked at. The
    clock stands still during `pauses`.
    """
    past, clock = bridge(rollup.at(customers, instants), pauses, instants)
    history = history_of(past, clock, model.features, in_words=False)
    horizons = own_horizons(history, horizon_days)
    probability = weigh(model, View(history, clock, horizons)).probability
    return PastScores(probability, state_of(history, clock, probability, horizon_days), horizons)


def risks_at(
    rollup: Rollup,
    customers: NDArray[np.intp],
    instants: Floats,
    horizon_days: float,
    model: Model,
    pauses: Sequence[Pause] = (),
) -> tuple[Floats, NDArray[np.int8]]:
    """Probability and state of each (customer, instant), as `scores_at` has them."""
    scores = scores_at(rollup, customers, instants, horizon_days, model, pauses)
    return scores.probability, scores.state


def _lapses(history: History, state: NDArray[np.int8], now: float, horizon_days: float) -> list[float | None]:
    lapses = np.fmin(lapse_time(history, horizon_days), now)
    return [at if lapsed else None for at, lapsed in zip(lapses.tolist(), (state == LAPSED).tolist(), strict=True)]


def _level(probability: Floats, levels: LevelBounds) -> NDArray[np.intp]:
    return np.searchsorted(np.array(levels), probability, side="right")


def _next_due(view: View, risk: Risks, now: float, levels: LevelBounds, model: Model) -> Floats:
    """By section over those whose level is another one in a day: the risk only rises until then."""
    moving = model.moving()
    still = risk.total - moving.contributions(view).sum(axis=1)
    level = _level(risk.probability, levels)

    def level_at(later: View, rows: NDArray[np.intp] | slice) -> NDArray[np.intp]:
        total = hold(still[rows] + moving.contributions(later).sum(axis=1))
        return _level(sigmoid(np.maximum(total, risk.floor[rows])), levels)

    due = np.full(len(level), now + DAY)
    changing = np.flatnonzero(level_at(view.later(now + DAY), slice(None)) != level)
    if not len(changing):
        return due
    rows = np.repeat(changing, _SECTIONS - 1)
    few, low, width = view.take(rows), np.full(len(changing), now), DAY
    for _ in range(_ROUNDS):
        width /= _SECTIONS
        inner = low[:, None] + width * np.arange(1, _SECTIONS)
        same = level_at(few.later(inner.ravel()), rows) == level[rows]
        low = low + width * same.reshape(inner.shape).sum(axis=1)
    due[changing] = low + width
    return due


def _next_event(rollup: Rollup, now: float) -> Floats:
    """Returns the time of the first row that is still ahead of `now` (a producer's clock runs fast); infinite without
    one."""
    ahead = rollup.where(rollup.last_at > now)
    out = np.full(rollup.customers, np.inf)
    np.minimum.at(out, ahead.customer, ahead.last_at)
    return out
