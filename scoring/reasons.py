"""Contributions → words: at most three reasons that raise a risk and three that lower it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import numpy as np

from scoring.events import CHURNED
from scoring.facts import Facts, count, date, duration, month
from scoring.look_back import LOOK_BACK
from scoring.rollup import DAY, Floats

TOP: Final = 3  # a direction
WORTH_SAYING: Final = 0.5  # percentage points
SLOW_DAYS: Final = 30  # a risk that looks further ahead than this, for a slow customer, says so


class Reason(msgspec.Struct, frozen=True, gc=False):
    """A part of a risk: percentage points (positive raises it), with the facts behind it."""

    signal: str
    points: float
    text: str


def reasons_of(signals: tuple[str, ...], points: Floats, facts: Sequence[Facts]) -> list[list[Reason]]:
    """The largest contributions of each customer, those that raise the risk first; `points` is (customers, signals)."""
    reasons: list[list[Reason]] = [[] for _ in facts]
    raising, lowering = ([_find_words(signal, raises) for signal in signals] for raises in (True, False))
    for customer, column, value in zip(*_choose(points), strict=True):
        say = (raising if value > 0 else lowering)[column]
        reasons[customer].append(Reason(signals[column], value, say(facts[customer])))
    return reasons


def _choose(points: Floats) -> tuple[list[int], list[int], list[float]]:
    """Customers, columns and points of what is worth saying: by customer, the largest first in each direction."""
    customer, column = np.nonzero(np.abs(points) >= WORTH_SAYING)
    value = points[customer, column]
    falls = value < 0
    order = np.lexsort((np.where(falls, column, -column), -np.abs(value), falls, customer))
    group = (2 * customer + falls)[order]
    chosen = order[np.arange(len(order)) - np.searchsorted(group, group) < TOP]
    return customer[chosen].tolist(), column[chosen].tolist(), value[chosen].tolist()


def text_of(signal: str, facts: Facts, points: float) -> str:
    """Returns the observation behind a signal, in plain words that fit its points: above 0 they raise the risk."""
    return _find_words(signal, points > 0)(facts)


def _find_words(signal: str, raises: bool) -> Callable[[Facts], str]:
    say = _RAISING.get(signal) if raises else None
    return say or _TEXTS.get(signal) or partial(_last_time, signal)


def _silence(facts: Facts) -> str:
    if facts.never_started:
        since = f"{duration(facts.days_since(facts.first))} after the first event"
        return f"Never started: no login {since}" if facts.state == "lapsed" else f"No login yet, {since}"
    if facts.last_active is None:
        return f"No payment for {duration(facts.days_silent)}"
    noun = "login" if facts.last_login is not None else "activity"
    silent = facts.days_since(facts.last_active)
    text = f"No {noun} for {duration(silent)}" if silent >= 1 else f"Last {noun} {duration(silent)} ago"
    return text if facts.horizon_days <= SLOW_DAYS else f"{text}{_look_ahead(facts)}"


def _look_ahead(facts: Facts) -> str:
    """Returns the remark for a customer whose slow rhythm makes the risk look further ahead."""
    if facts.cadence is None or 2 * facts.cadence <= SLOW_DAYS:
        return ""
    rhythm = facts.rhythm
    return (
        "" if rhythm is None else f", usually active every {rhythm}: this risk looks {facts.horizon_days:g} days ahead"
    )


def _activity(facts: Facts) -> str:
    if facts.seen is None:
        return "Never started: no login or feature used" if facts.state == "lapsed" else "No login or feature used yet"
    if facts.last_active is None:
        return f"Paid on {count(facts.active_days, 'day')} in all, the last on {date(facts.seen, facts.now)}"
    if not facts.recent_days:
        span = "in all, the last on" if _is_whole(facts) else "in the year up to"
        return f"Active on {count(facts.active_days, 'day')} {span} {date(facts.seen, facts.now)}"
    window = max(facts.recent_days, min(30, int(facts.days_since(facts.first)) + 1))
    if window == 1:
        return "Active today"
    return f"Active on {facts.recent_days} of the last {count(window, 'day')}"


def _newcomer(facts: Facts) -> str:
    noun = "payment" if facts.last_active is None else "active day"
    if not facts.active_days:
        return f"No {noun} yet"
    return f"{count(facts.active_days, noun)} {'so far' if _is_whole(facts) else 'in the last year of use'}"


def _few_days(facts: Facts) -> str:
    """Returns the words for a short history as a reason that raises the risk."""
    return f"Only {_newcomer(facts)}" if facts.active_days else _newcomer(facts)


def _seldom(facts: Facts) -> str:
    """Returns the words for little activity as a reason that raises the risk."""
    text = _activity(facts)
    if text == "Active today":
        return "Active today for the first time"
    return f"Only a{text[1:]}" if text.startswith("Active") else text


def _is_whole(facts: Facts) -> bool:
    """True where all that the customer did is within reach of the risk."""
    return facts.first is None or facts.seen is None or facts.seen - facts.first <= LOOK_BACK * DAY


def _downgraded(facts: Facts) -> str:
    at = facts.last.get("subscription_downgraded")
    if at is None:
        return "Never downgraded"
    to = f" to the plan {facts.plan}" if "subscription_downgraded" in facts.matters and facts.plan else ""
    return f"Downgraded{to} on {date(at, facts.now)}"


def _trial_ended(facts: Facts) -> str:
    at = facts.matters.get("trial_ended")
    return "No trial ended unpaid" if at is None else f"Trial ended on {date(at, facts.now)}, not paid since"


def _overdue(facts: Facts) -> str:
    if facts.overdue_since is None:
        missed = facts.last.get("invoice_overdue")
        return "No invoice overdue" if missed is None else f"Invoice overdue on {date(missed, facts.now)}, paid since"
    return f"Invoice overdue since {date(facts.overdue_since, facts.now)}"


def _tickets(facts: Facts) -> str:
    if facts.oldest_ticket is None:
        return "No support ticket open"
    noun = count(facts.open_tickets, "support ticket")
    return (
        f"{noun} open, the oldest since {date(facts.oldest_ticket, facts.now)}"
        if facts.open_tickets > 1
        else (f"{noun} open since {date(facts.oldest_ticket, facts.now)}")
    )


def _nps(facts: Facts) -> str:
    if facts.nps is None or facts.nps_at is None:
        return "No NPS response yet"
    return f"NPS score {facts.nps} on {date(facts.nps_at, facts.now)}"


def _minutes(minutes: float) -> str:
    return count(round(minutes), "minute") if round(minutes) else "less than a minute"


def _tenure(facts: Facts) -> str:
    return "No event yet" if facts.first is None else f"Customer since {date(facts.first, facts.now)}"


def _cadence(facts: Facts) -> str:
    if facts.cadence is None:
        return "Not active on two days yet"
    gap = max(1, round(facts.cadence))
    return f"Usually active every {'day' if gap == 1 else f'{gap} days'}"


def _season(facts: Facts) -> str:
    at = facts.first if facts.seen is None else facts.seen
    return "Time of year" if at is None else f"Time of year: last active in {month(at)}"


def _use(facts: Facts) -> str:
    return "No feature used yet" if facts.favourite is None else f"Uses {facts.favourite} most"


def _dated(event: str, happened: str, never: str) -> Callable[[Facts], str]:
    def say(facts: Facts) -> str:
        at = facts.last.get(event)
        return never if at is None else f"{happened} on {date(at, facts.now)}"

    return say


def _last_time(event: str, facts: Facts) -> str:
    at = facts.last.get(event)
    return f"No {event} yet" if at is None else f"Last {event} on {date(at, facts.now)}"


_TEXTS: Final[dict[str, Callable[[Facts], str]]] = {
    "silence": _silence,
    "activity": _activity,
    "tenure": _tenure,
    "season": _season,
    "cadence": _cadence,
    "feature_used": _use,
    "plan": lambda facts: "On no known plan" if facts.plan is None else f"On the plan {facts.plan}",
    "breadth": lambda facts: f"Uses {count(round(facts.breadth), 'feature')}",
    "session": lambda facts: f"Active for {_minutes(facts.minutes)} a day",
    "invoice_overdue": _overdue,
    "support_ticket_opened": _tickets,
    "nps_response": _nps,
    "invoice_paid": _dated("invoice_paid", "Last invoice paid", "No invoice paid yet"),
    "subscription_renewed": _dated("subscription_renewed", "Last renewed", "No renewal yet"),
    "subscription_upgraded": _dated("subscription_upgraded", "Upgraded", "No upgrade yet"),
    "subscription_downgraded": _downgraded,
    "trial_ended": _trial_ended,
    "newcomer": _newcomer,
    "support_ticket_resolved": _dated("support_ticket_resolved", "Support ticket resolved", "No ticket resolved yet"),
    "churned": _dated(CHURNED, "Churn reported", "No churn reported"),
    "refund_requested": _dated("refund_requested", "Refund requested", "No refund requested"),
}
_RAISING: Final[dict[str, Callable[[Facts], str]]] = {"newcomer": _few_days, "activity": _seldom}
"""The words where a signal raises the risk, if they are others."""
