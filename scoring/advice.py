"""Advice on a risk: the first line of this table that fits, always the same for the same facts.

| strategy | when | at least as urgent as |
|---|---|---|
| payment_recovery | an invoice is overdue and unpaid | medium; high from 7 days on |
| refund_rescue | a refund was requested within 14 days, or before a silence | high |
| trial_conversion | a trial ended within 30 days, and nobody has paid | high |
| downgrade_rescue | downgraded within 30 days to a free plan | high |
| support_follow_up | a ticket of the last 90 days is open: for over 2 days, or at risk | low; medium from 7 days on |
| detractor_outreach | the last NPS score, within 90 days, is 0 to 6 | medium |
| downgrade_rescue | downgraded within 30 days, and not upgraded since | medium |
| onboarding_help | never used, up to 90 days; or at most 3 active days in the first 30, and silent for 2 days | low |
| feature_win_back | at risk, still active, but without the favourite feature for 7 days and 1.5 own cadences | medium |
| re_engagement | at risk and silent for longer than usual, or lapsed | medium |
| none | all else | none |

"At risk" is medium or above. The urgency is the level of the risk, raised to the table's floor. Lapsed customers come
after those who can still be kept, so theirs is the floor alone.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import compress
from typing import Any, Final

import msgspec

from scoring.facts import Facts, count, date, duration, write_times
from scoring.rollup import DAY

URGENCIES: Final = ("none", "low", "medium", "high", "critical")
SOON: Final = 7.0  # days
BEGINNING: Final = 30.0  # days from the first event
OLD_TICKET: Final = 90.0  # days, from which on a ticket hides no other advice
UNUSUAL: Final = 1.5  # own cadences
FEW_DAYS: Final = 3  # active days, of a customer who has only begun
DETRACTOR: Final = 6  # the highest such NPS score


TACTICS: Final = {  # the hosted product's names of such messages
    "payment_recovery": "pause_option",
    "refund_rescue": "founder_email",
    "support_follow_up": "pain_point_fix",
    "detractor_outreach": "feedback_request",
    "downgrade_rescue": "downgrade_offer",
    "onboarding_help": "social_proof",
    "trial_conversion": "discount",
    "feature_win_back": "unused_feature",
    "re_engagement": "value_recap",
    "none": None,
}


class Advice(msgspec.Struct, frozen=True):
    """A strategy, how soon, why, and the facts to write the message with. `tactic` is the hosted product's word."""

    strategy: str
    urgency: str
    why: str
    facts: dict[str, Any]
    tactic: str | None = None


def advice_of(facts: Sequence[Facts], levels: Sequence[str]) -> list[Advice]:
    """The first strategy that fits each customer at this level of risk."""
    return [_choose(*row) for row in zip(facts, levels, _list_mentions(facts), strict=True)]


def _choose(facts: Facts, level: str, mentions: dict[str, Any]) -> Advice:
    at_risk = level != "low"
    for rule in _find_rules(facts, at_risk):
        choice = rule(facts, at_risk)
        if choice:
            strategy, floor, why = choice
            return Advice(strategy, _urgency(facts, level, floor), why, mentions, TACTICS[strategy])
    return Advice("none", "none", "Nothing to do: no signal asks for it", mentions)


def _find_rules(facts: Facts, at_risk: bool) -> Sequence["Rule"]:
    """Returns the rules that can apply, in their order. Most customers have few, so they are spared ten checks."""
    if facts.first is None:
        return ()
    return _rules_for(
        facts.overdue_since is not None,
        bool(facts.matters),
        facts.open_tickets > 0,
        facts.nps is not None and facts.nps <= DETRACTOR,
        facts.last.get("subscription_downgraded") is not None,
        at_risk or facts.state != "active" or facts.active_days <= FEW_DAYS,
    )


Choice = tuple[str, str, str] | None
"""Strategy, floor of the urgency, and why."""
Rule = Callable[[Facts, bool], Choice]


def _payment_recovery(facts: Facts, at_risk: bool) -> Choice:
    if facts.overdue_since is None:
        return None
    floor = "high" if facts.days_since(facts.overdue_since) >= SOON else "medium"
    return "payment_recovery", floor, f"Invoice overdue since {date(facts.overdue_since, facts.now)}"


def _refund_rescue(facts: Facts, at_risk: bool) -> Choice:
    if "refund_requested" not in facts.matters or facts.days_since_event("refund_requested") > 90:
        return None
    return "refund_rescue", "high", f"Refund requested {_ago(facts, 'refund_requested')}"


def _trial_conversion(facts: Facts, at_risk: bool) -> Choice:
    ended = facts.matters.get("trial_ended")
    if ended is None or facts.days_since(ended) > 30:
        return None
    return "trial_conversion", "high", f"Trial ended {duration(facts.days_since(ended))} ago, and nothing has been paid"


def _cancellation(facts: Facts, at_risk: bool) -> Choice:
    if "subscription_downgraded" not in facts.matters or facts.days_since_event("subscription_downgraded") > 30:
        return None
    why = f"Downgraded to the plan {facts.plan} {_ago(facts, 'subscription_downgraded')}"
    return "downgrade_rescue", "high", why


def _downgrade_rescue(facts: Facts, at_risk: bool) -> Choice:
    since = facts.days_since_event("subscription_downgraded")
    if since > 30 or facts.days_since_event("subscription_upgraded") < since:
        return None
    return "downgrade_rescue", "medium", f"Downgraded {_ago(facts, 'subscription_downgraded')}"


def _support_follow_up(facts: Facts, at_risk: bool) -> Choice:
    if not facts.open_tickets or facts.oldest_ticket is None:
        return None
    waiting = facts.days_since(facts.oldest_ticket)
    if waiting > OLD_TICKET or not (at_risk or waiting > 2):
        return None
    why = f"{count(facts.open_tickets, 'support ticket')} open, the oldest for {duration(waiting)}"
    return "support_follow_up", "medium" if waiting >= SOON else "low", why


def _detractor_outreach(facts: Facts, at_risk: bool) -> Choice:
    if facts.nps is None or facts.nps_at is None or facts.nps > DETRACTOR or facts.days_since(facts.nps_at) > 90:
        return None
    return "detractor_outreach", "medium", f"NPS score {facts.nps} on {date(facts.nps_at, facts.now)}"


def _onboarding_help(facts: Facts, at_risk: bool) -> Choice:
    since = facts.days_since(facts.first)
    if facts.first is None:
        return None
    if facts.never_started:
        fits = 1 <= since <= OLD_TICKET
        return ("onboarding_help", "low", f"No login yet, {duration(since)} after the first event") if fits else None
    few = facts.active_days <= FEW_DAYS and since <= BEGINNING and facts.state == "active"
    if not few or facts.days_silent < 2 or not (at_risk or facts.active_days == 1):
        return None
    return "onboarding_help", "low", f"Active on only {count(facts.active_days, 'day')} in the first {duration(since)}"


def _feature_win_back(facts: Facts, at_risk: bool) -> Choice:
    if not at_risk or facts.favourite is None or facts.favourite_at is None or facts.state == "lapsed":
        return None
    unused = facts.days_since(facts.favourite_at)
    if facts.days_silent >= _unusual(facts) or unused - facts.days_silent < _unusual(facts):
        return None
    return "feature_win_back", "medium", f"Favourite feature {facts.favourite} not used for {duration(unused)}"


def _re_engagement(facts: Facts, at_risk: bool) -> Choice:
    if facts.first is None or (facts.state != "lapsed" and not at_risk):
        return None
    silent = facts.days_silent
    if facts.never_started:
        why = f"Never started: no login {duration(silent)} after the first event"
        return ("re_engagement", "low", why) if facts.state == "lapsed" else None
    if facts.state != "lapsed" and silent < _unusual(facts):
        return None
    noun, does = ("payment", "paid") if facts.last_active is None else ("activity", "active")
    rhythm = facts.rhythm
    usual = "" if rhythm is None else f"; usually {does} every {rhythm}"
    return "re_engagement", "medium", f"No {noun} for {duration(silent)}{usual}"


def _unusual(facts: Facts) -> float:
    """Days of silence that are more than usual for this customer; 7 at least."""
    return max(SOON, UNUSUAL * (facts.cadence or 0.0))


_RULES: Final[Sequence[Rule]] = (
    _payment_recovery,
    _refund_rescue,
    _trial_conversion,
    _cancellation,
    _support_follow_up,
    _detractor_outreach,
    _downgrade_rescue,
    _onboarding_help,
    _feature_win_back,
    _re_engagement,
)


@cache
def _rules_for(
    overdue: bool, matters: bool, tickets: bool, detractor: bool, downgraded: bool, little_use: bool
) -> tuple[Rule, ...]:
    """Returns the rules that can apply to customers with these facts, in the order of _RULES."""
    applies = (overdue, matters, matters, matters, tickets, detractor, downgraded, little_use, little_use, little_use)
    return tuple(compress(_RULES, applies))


def _urgency(facts: Facts, level: str, floor: str) -> str:
    if facts.state == "lapsed":
        return floor
    return max(level, floor, key=URGENCIES.index)


def _ago(facts: Facts, event: str) -> str:
    return f"{duration(facts.days_since_event(event))} ago"


def _list_mentions(facts: Sequence[Facts]) -> list[dict[str, Any]]:
    """Lists the facts that a message may mention; unknown ones are left out. Times are ISO 8601."""
    listed: list[dict[str, Any]] = [{} for _ in facts]
    columns: dict[str, list[Any]] = {
        "plan": [about.plan for about in facts],
        "favourite_feature": [about.favourite for about in facts],
        "last_active": write_times([about.last_active for about in facts]),
        "last_login": write_times([_earlier(about.last_login, about.last_active) for about in facts]),
        "favourite_last_used": write_times([about.favourite_at if about.favourite else None for about in facts]),
        "overdue_since": write_times([about.overdue_since for about in facts]),
        "refund_requested_at": write_times([about.last.get("refund_requested") for about in facts]),
        "downgraded_at": write_times([about.last.get("subscription_downgraded") for about in facts]),
        "open_tickets": [about.open_tickets or None for about in facts],
        "nps": [about.nps for about in facts],
    }
    for name, values in columns.items():
        if values.count(None) < len(values):
            for place, value in enumerate(values):
                if value is not None:
                    listed[place][name] = value
    return listed


def _earlier(at: float | None, other: float | None) -> float | None:
    """The first of two times, where it lies on an earlier day: else it says nothing more."""
    return at if at is not None and other is not None and at // DAY < other // DAY else None
