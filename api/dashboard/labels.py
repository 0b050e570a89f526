"""Our own names in words for people: strategies, states, facts and events."""

from typing import Final, NamedTuple

SPANS: Final = {"30": "30 days", "90": "90 days", "365": "A year"}

STRATEGIES: Final = {
    "payment_recovery": "Recover the payment",
    "refund_rescue": "Answer the refund request",
    "support_follow_up": "Follow up on the support ticket",
    "detractor_outreach": "Ask about the low NPS score",
    "downgrade_rescue": "Ask about the downgrade",
    "onboarding_help": "Help them get started",
    "trial_conversion": "Help them decide on the trial",
    "feature_win_back": "Bring back to a favourite feature",
    "re_engagement": "Invite them back",
    "none": "Nothing to do",
}

FACTS: Final = {
    "name": "Name",
    "company": "Company",
    "plan": "Plan",
    "favourite_feature": "Favourite feature",
    "favourite_last_used": "Last used it on",
    "last_active": "Last active on",
    "last_login": "Last login on",
    "open_tickets": "Open support tickets",
    "ticket_subjects": "About",
    "overdue_since": "Invoice overdue since",
    "refund_requested_at": "Refund requested on",
    "refund_reason": "Because",
    "downgraded_at": "Downgraded on",
    "trial_started_at": "Trial started on",
    "nps": "NPS score",
    "nps_comment": "And wrote",
    "last_failure": "Last failure",
    "last_failure_at": "Failed on",
}

STATES: Final = {
    "new": "New: no login and no feature used yet",
    "active": "Active: not silent for long enough to count as lapsed",
    "lapsed": "Lapsed: no activity for over 14 days, and for over twice the usual pause",
}


RECOGNISED_WORDS: Final = {
    "login": "Counts as use of the product. Days with a login show the rhythm; days without one raise the risk.",
    "feature_used": "Counts as use of the product, like a login. `feature` shows the favourite.",
    "subscription_renewed": "Lowers the risk. Half of the effect is left after 30 days.",
    "subscription_upgraded": "Lowers the risk. Half of the effect is left after 90 days.",
    "subscription_downgraded": "Raises the risk while the customer stays away, and for some months of use after that.",
    "support_ticket_opened": "Raises the risk while the ticket is open, and more after 7 days.",
    "support_ticket_resolved": "Clears an open ticket, and lowers the risk a little.",
    "nps_response": "Depends on its `score`: 0 to 6 raises the risk, 9 and 10 lower it. No effect without a score.",
    "invoice_paid": "Clears the overdue invoice with its `invoice_id`, else the latest, and lowers the risk a little.",
    "invoice_overdue": "Raises the risk until `invoice_paid` comes, of the same `invoice_id` where both have one.",
    "refund_requested": "Raises the risk while the customer stays away, and for some weeks of use after that.",
    "trial_started": "No effect by itself. The first event shows since when somebody is a customer.",
    "trial_ended": "No effect by itself. Without a payment, renewal or upgrade within 14 days it counts as churn.",
}


class Move(NamedTuple):
    """An event that moves a risk: its label, and the class of its mark."""

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


def find_move(event: str, detail: str) -> Move:
    """The move of an event of MOVES; of an NPS response by its score."""
    if event == "nps_response" and detail.isdigit():
        score = int(detail)
        return Move(f"NPS score {score}", UP if score <= 6 else DOWN if score >= 9 else OTHER)
    return MOVES[event]
