"""What the names of our own mean, in words for people: strategies, states, events, features of a model."""

from typing import Final, NamedTuple

SPANS: Final = {"30": "30 days", "90": "90 days", "365": "A year"}

STRATEGIES: Final = {
    "payment_recovery": "Recover the payment",
    "refund_rescue": "Answer the refund request",
    "support_follow_up": "Follow up on support",
    "detractor_outreach": "Reach out to a detractor",
    "downgrade_rescue": "Ask about the downgrade",
    "onboarding_help": "Help them get started",
    "feature_win_back": "Win back to a favourite feature",
    "re_engagement": "Re-engage",
    "none": "Nothing to do",
}

FACTS: Final = {
    "plan": "Plan",
    "favourite_feature": "Favourite feature",
    "last_seen": "Last active on",
    "days_silent": "Days of silence",
    "days_since_last_login": "Days since the last login",
    "open_tickets": "Open support tickets",
    "overdue_since": "Overdue since",
    "days_overdue": "Days overdue",
    "nps": "NPS score",
}

STATES: Final = {
    "new": "New: nothing but the first events yet, no login and no feature used",
    "active": "Active: seen within the usual rhythm",
    "lapsed": "Lapsed: silent for over 14 days, and over twice as long as usual",
}


RECOGNISED_WORDS: Final = {
    "login": "Engagement: the days with a login tell the rhythm, and days without one raise the risk.",
    "feature_used": "Engagement, like a login. Its `feature` tells the favourite, its `duration_seconds` how long.",
    "subscription_renewed": "Lowers the risk; half of that is left after 30 days.",
    "subscription_upgraded": "Lowers the risk; half of that is left after 90 days.",
    "subscription_downgraded": "Raises the risk, for as long as the customer stays away and for months of activity.",
    "support_ticket_opened": "Raises the risk while the ticket is open, and more once it has been for over 7 days.",
    "support_ticket_resolved": "Clears an open ticket, and lowers the risk a little.",
    "nps_response": "Counts by its `score`: 0 to 6 raises the risk, 9 and 10 lower it. Without one it says nothing.",
    "invoice_paid": "Clears an overdue invoice, and lowers the risk a little.",
    "invoice_overdue": "Raises the risk until `invoice_paid` comes.",
    "refund_requested": "Raises the risk, for as long as the customer stays away and for weeks of activity.",
    "trial_started": "Says nothing by itself: the first event tells how long somebody has been a customer.",
    "trial_ended": "Says nothing by itself. Without a payment, renewal or upgrade in 14 days it counts as leaving.",
}


class Move(NamedTuple):
    """An event that moves a risk: its words, and the class of its mark."""

    words: str
    colour: str


UP, DOWN, OTHER = "mark-up", "mark-down", "mark-other"
MOVES: Final = {
    "invoice_overdue": Move("Invoice overdue", UP),
    "refund_requested": Move("Refund requested", UP),
    "subscription_downgraded": Move("Downgraded", UP),
    "support_ticket_opened": Move("Support ticket opened", UP),
    "support_ticket_resolved": Move("Support ticket resolved", DOWN),
    "invoice_paid": Move("Invoice paid", DOWN),
    "subscription_renewed": Move("Subscription renewed", DOWN),
    "subscription_upgraded": Move("Upgraded", DOWN),
    "nps_response": Move("NPS response", OTHER),
    "trial_started": Move("Trial started", OTHER),
    "trial_ended": Move("Trial ended", OTHER),
}


def move_of(event: str, detail: str) -> Move:
    """What an event of MOVES did; an NPS response by its score."""
    if event == "nps_response" and detail.isdigit():
        score = int(detail)
        return Move(f"NPS score {score}", UP if score <= 6 else DOWN if score >= 9 else OTHER)
    return MOVES[event]
