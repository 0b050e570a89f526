"""Rollup → history: the state of each customer as of the last engagement, ready to be read at any later instant.

Every function is vectorised over customers and costs a few passes over the rollup's rows.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from scoring.events import (
    BEGINNINGS,
    CHURNED,
    ENGAGEMENT,
    FREE_PLANS,
    MAX_DAILY_COUNT,
    NPS_SCORES,
    RECOGNISED,
    SIGNS_OF_LIFE,
)
from scoring.feature_use import USES, find_named_use, measure_use, read_asked
from scoring.group_by import SPAN, Index, by_owner, gaps_of, median_gap, ranks, sort_distinct, sum_above_zero
from scoring.invoices import SIGNS, Signs, measure_signs, no_signs, settle_invoices
from scoring.look_back import limit_reach
from scoring.rhythm import HALF_LIVES, Rhythm, measure_rhythm
from scoring.rollup import DAY, Floats, Ints, Rollup

SIGNAL_HALF_LIFE: Final = {  # days
    "invoice_overdue": 30.0,
    "invoice_paid": 30.0,
    "subscription_renewed": 30.0,
    "subscription_upgraded": 90.0,
    "subscription_downgraded": 90.0,
    "refund_requested": 60.0,
    "support_ticket_opened": 30.0,
    "support_ticket_resolved": 30.0,
    "nps_response": 90.0,
}
EVENT: Final = "event:"  # the prefix of features that are named after a custom event
LONGEST: Final = "beyond"  # the feature that asks for the longest gap
PAID: Final = "paid_days"  # the feature with which payments count as use: it asks for the days that they alone show
CUSTOM_HALF_LIFE: Final = 30.0  # days
TICKET_DAYS: Final = 90.0  # after which an open ticket counts no more, unless the customer has been silent since


@dataclass(frozen=True, slots=True)
class Signal:
    """One event that is no engagement; arrays of length customers."""

    frozen: Floats  # decayed count, the clock standing still at the last engagement
    fading: Floats  # decayed count as of `last`, decaying on
    last: Floats  # epoch seconds, NaN where there was none

    def take(self, rows: NDArray[Any]) -> Self:
        """The same facts for some of the customers."""
        return type(self)(self.frozen[rows], self.fading[rows], self.last[rows])


@dataclass(frozen=True, slots=True)
class History:
    """The history of each customer; arrays of length customers, times in epoch seconds, NaN where there is none."""

    first: Floats  # first event of any kind
    began: Floats  # first engagement, payment or trial: since when a rhythm can be known
    last_active: Floats  # last engagement
    seen: Floats  # last engagement, or payment where these count: of customers never engaged, or with PAID of all
    last_login: Floats
    billed: NDArray[np.bool_]  # the customer only pays, and is never seen in person
    active: Floats  # (customers, 3): decayed active days by half-life, as of the last engagement
    active_days: Floats  # distinct days with engagement, in reach
    recent_days: Floats  # … in the last 30 days
    cadence: Floats  # median days from active day to active day; NaN below two
    longest: Floats  # the longest of them; NaN below two, or unless "beyond" is needed
    rhythm: Rhythm  # how regular these are
    signs: Signs  # days with use or a payment; none unless they are needed
    paid_days: Floats  # days in reach with a payment and no use; 0 unless they are needed
    breadth: Floats  # decayed number of distinct features used
    favourite: Ints  # detail code of the feature most used, -1 none
    favourite_at: Floats
    duration: Floats  # (customers, 3): decayed seconds by half-life
    overdue: Floats  # decayed unpaid invoices
    overdue_since: Floats
    open_tickets: Floats
    oldest_ticket: Floats  # when the oldest open ticket was opened
    nps: Floats  # last valid score, 0 to 10
    nps_at: Floats
    promoters: Floats  # decayed number of NPS scores of 9 and 10
    plan: Ints  # code of the last plan named, -1 none
    free: NDArray[np.bool_]  # that plan is free
    signals: dict[str, Signal]  # by recognised or asked-for event; an event that is never sent is absent, not zero
    asked: dict[str, Floats]  # "uses:exports" → decayed use of it, "plan:pro" → 1 while on it

    def take(self, rows: NDArray[Any]) -> Self:
        """The same facts for some of the customers."""

        def pick(value: Any) -> Any:
            if isinstance(value, Signal | Rhythm | Signs):
                return value.take(rows)
            return {name: pick(part) for name, part in value.items()} if isinstance(value, dict) else value[rows]

        return type(self)(*(pick(getattr(self, field.name)) for field in fields(self)))


def history_of(rollup: Rollup, now: float | Floats, asked: Collection[str] = (), *, in_words: bool = True) -> History:
    """The facts of each customer; `now` in epoch seconds, one for all or one each; for `asked` see `History.asked`.

    The rollup must hold nothing later than `now` (`Rollup.until`, `Rollup.at`). Without `in_words`, what no risk rests
    on and only reasons or advice name is left out: the favourite feature.
    """
    first = _earliest(rollup)
    beginnings = rollup.of(BEGINNINGS)
    began = first if beginnings.all() else _earliest(rollup.where(beginnings, "last_at"))
    rollup = limit_reach(rollup, [name.removeprefix(EVENT) for name in asked if name.startswith(EVENT)])
    engagement = rollup.of(ENGAGEMENT)
    engaged, others = rollup.where(engagement, "day", "value", "last_at"), rollup.where(~engagement)
    features = in_words or any(name == "breadth" or name.startswith(USES) for name in asked)
    used = rollup.where(find_named_use(rollup) if features else engagement & False, "detail", "n", "last_at")
    life = _life(rollup, engagement, PAID in asked)
    last_active, seen, plan = _latest(engaged), _latest(life), _plan(rollup)
    billed = np.isnan(last_active) & ~np.isnan(seen) & (PAID not in asked)
    today = np.broadcast_to(np.asarray(now) // DAY, (rollup.customers,))
    return History(
        first=first,
        began=began,
        last_active=last_active,
        seen=seen,
        last_login=_latest(rollup.where(rollup.of(("login",)), "last_at")),
        billed=billed,
        **_activity(life, engaged, today, billed, LONGEST in asked),
        paid_days=_paid_days(life, engaged) if PAID in asked else np.zeros(rollup.customers),
        signs=measure_signs(rollup) if any(name in SIGNS for name in asked) else no_signs(rollup.customers),
        **measure_use(used),
        **_invoices(others, seen),
        **_tickets(others, seen),
        **_nps(_only(others, "nps_response"), seen),
        plan=plan,
        free=np.array([*(name.lower() in FREE_PLANS for name in rollup.plans), False], dtype=bool)[plan],
        signals={name: _signal(_only(others, name), name, seen) for name in _signals(others, asked)},
        asked=read_asked(asked, used, plan, last_active),
    )


def _signals(rollup: Rollup, asked: Iterable[str]) -> list[str]:
    """The events to look at: recognised ones, and those asked for. An account may send thousands of others."""
    present = np.bincount(rollup.event, minlength=len(rollup.names)) > 0
    wanted = {*RECOGNISED, CHURNED, *(name.removeprefix(EVENT) for name in asked if name.startswith(EVENT))}
    return sorted(name for name, there in zip(rollup.names, present, strict=True) if there and name in wanted)


def _only(rollup: Rollup, event: str) -> Rollup:
    return rollup.where(rollup.of((event,)))


def _latest(rollup: Rollup) -> Floats:
    return by_owner(np.maximum, rollup.customer, rollup.last_at, rollup.customers)


def _earliest(rollup: Rollup) -> Floats:
    return by_owner(np.minimum, rollup.customer, rollup.last_at, rollup.customers)


def _life(rollup: Rollup, engagement: NDArray[np.bool_], paid: bool) -> Rollup:
    """The days of engagement, and those of payments: until the first engagement, or all where they are `paid` for in
    person."""
    sign = rollup.of(SIGNS_OF_LIFE)
    if not sign.any():
        return rollup.where(engagement, "day", "last_at")
    if paid:
        return rollup.where(engagement | sign, "day", "last_at")
    begin = by_owner(np.minimum, rollup.customer[engagement], rollup.last_at[engagement], rollup.customers)
    early = sign & ~(rollup.last_at >= begin[rollup.customer])
    return rollup.where(engagement | early, "day", "last_at")


def _activity(
    life: Rollup, engaged: Rollup, today: Floats, billed: NDArray[np.bool_], with_longest: bool
) -> dict[str, Any]:
    size = life.customers
    owner, day = days_of(life)
    active_days = np.bincount(owner, minlength=size).astype(float)
    paused, gaps = gaps_of(owner, day)
    cadence = median_gap(paused, gaps, size)
    last_day = np.nan_to_num(by_owner(np.maximum, owner, day.astype(float), size))
    age = last_day[owner] - day
    return {
        "active": _decayed(owner, age, None, size),
        "active_days": active_days,
        "recent_days": np.bincount(owner[day > today[owner] - 30], minlength=size).astype(float),
        "cadence": cadence,
        "longest": by_owner(np.maximum, paused, gaps.astype(np.float64), size)
        if with_longest
        else np.full(size, np.nan),
        "rhythm": measure_rhythm(paused, gaps, cadence, billed),
        "duration": _decayed(engaged.customer, last_day[engaged.customer] - engaged.day, engaged.value, size),
    }


def _paid_days(life: Rollup, engaged: Rollup) -> Floats:
    """The number of days with a payment alone."""
    days, used = (np.bincount(days_of(rows)[0], minlength=rows.customers) for rows in (life, engaged))
    return np.asarray(days - used, np.float64)


def days_of(engaged: Rollup) -> tuple[Index, Index]:
    """(customer, day) of every day with a row, once each, in order."""
    keys = sort_distinct(engaged.customer.astype(np.int64) * SPAN + engaged.day)
    return keys // SPAN, keys % SPAN


def cadence_of(engaged: Rollup) -> Floats:
    """Median days from active day to active day, of a rollup of engagement only; NaN below two."""
    return median_gap(*gaps_of(*days_of(engaged)), engaged.customers)


def _decayed(owner: NDArray[Any], age: Floats, weight: Floats | None, size: int) -> Floats:
    """Sums of weights that halve with each half-life of age (whole days): (size, 3)."""
    out = np.zeros((size, len(HALF_LIVES)))
    if weight is not None and not weight.any():
        return out
    days = age.astype(np.intp)
    for column, half_life in enumerate(HALF_LIVES):
        share = np.exp2(-np.arange(days.max(initial=0) + 1) / half_life)[days]
        out[:, column] = np.bincount(owner, share if weight is None else share * weight, size)
    return out


def _signal(rows: Rollup, name: str, seen: Floats) -> Signal:
    size = rows.customers
    n, owner = _capped(rows), rows.customer
    half_life = SIGNAL_HALF_LIFE.get(name, CUSTOM_HALF_LIFE) * DAY
    last = _latest(rows)
    frozen_age = np.fmax(seen[owner] - rows.last_at, 0)
    fading_age = last[owner] - rows.last_at
    return Signal(
        frozen=np.bincount(owner, n * np.exp2(-frozen_age / half_life), size).astype(float),
        fading=np.bincount(owner, n * np.exp2(-fading_age / half_life), size).astype(float),
        last=last,
    )


def _capped(rows: Rollup) -> Floats:
    """n of rows of one event, scaled so that no day of a customer counts for more than the cap."""
    if not len(rows.n) or rows.n.sum(dtype=np.int64) <= MAX_DAILY_COUNT:
        return rows.n.astype(float)
    keys, pair = np.unique(rows.customer.astype(np.int64) * SPAN + rows.day, return_inverse=True)
    total = np.bincount(pair, rows.n, len(keys))
    return np.asarray(rows.n * np.minimum(1.0, MAX_DAILY_COUNT / np.maximum(total, 1))[pair], np.float64)


def _invoices(others: Rollup, seen: Floats) -> dict[str, Any]:
    """Overdue invoices that no payment or renewal has settled."""
    overdue, settled = settle_invoices(others)
    unpaid = overdue.where(np.isinf(settled))
    signal = _signal(unpaid, "invoice_overdue", seen)
    return {"overdue": signal.frozen, "overdue_since": _earliest(unpaid)}


def _tickets(others: Rollup, seen: Floats) -> dict[str, Any]:
    """Opened minus resolved, never below 0 on the way; the oldest open one, resolved first come first served.

    A ticket that was open for TICKET_DAYS before the customer was last seen counts no more: many producers never say
    that one is resolved.
    """
    opened, resolved = _only(others, "support_ticket_opened"), _only(others, "support_ticket_resolved")
    size = others.customers
    owner = np.append(opened.customer, resolved.customer).astype(np.int64)
    at = np.append(opened.last_at, resolved.last_at)
    delta = np.append(_capped(opened), -_capped(resolved))
    order = np.lexsort((-delta, at, owner))
    still_open = sum_above_zero(owner[order], delta[order], size)
    order = np.lexsort((opened.last_at, opened.customer))
    owner, at, n = opened.customer[order].astype(np.int64), opened.last_at[order], _capped(opened)[order]
    total = np.bincount(owner, n, size)
    so_far = np.cumsum(n) - (np.cumsum(total) - total)[owner]
    waiting = so_far > (total - still_open)[owner] + 1e-6
    forgotten = waiting & (at < seen[owner] - TICKET_DAYS * DAY)
    left = np.minimum(n, so_far - (total - still_open)[owner])
    still_open = np.round(still_open - np.bincount(owner[forgotten], left[forgotten], size), 6)
    waiting &= ~forgotten
    oldest = by_owner(np.minimum, owner[waiting], at[waiting], size)
    return {"open_tickets": still_open, "oldest_ticket": oldest}


def _nps(responses: Rollup, seen: Floats) -> dict[str, Any]:
    scores = np.array([NPS_SCORES.get(detail, -1) for detail in responses.details], dtype=float)
    valid = responses.where(scores[responses.detail] >= 0)
    score = scores[valid.detail]
    order = np.lexsort((-score, valid.last_at))
    nps = np.full(responses.customers, np.nan)
    nps[valid.customer[order]] = score[order]
    promoters = _signal(valid.where(score >= 9), "nps_response", seen).frozen
    return {"nps": nps, "nps_at": _latest(valid), "promoters": promoters}


def _plan(rollup: Rollup) -> Ints:
    rows = rollup.where(rollup.plan >= 0, "last_at", "plan")
    rows = rows.where(rows.last_at == _latest(rows)[rows.customer], "plan")
    order = np.argsort(ranks(rollup.plans)[rows.plan], kind="stable")
    plan = np.full(rollup.customers, -1, np.int32)
    plan[rows.customer[order]] = rows.plan[order]
    return plan
