"""Proposes roles for an account's own events: by their words, their senders and their frequency.

Nothing is mapped by itself: a person decides.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from scoring.event_roles import CHURN_ROLE, ENGAGEMENT_ROLE
from scoring.events import RECOGNISED

USE_SHARE: Final = 0.2  # of the customers of the commonest event must send an event that is use of the product …
USE_DAYS: Final = 2.0  # … each on so many days

# The first pattern that fits decides; matched against the words of a name, in lower case, with a blank around each.
PATTERNS: Final = (
    (CHURN_ROLE, r" (account|workspace|subscription|membership|user|customer|plan) (was )?"
                 r"(closed|deleted|cancell?ed|removed|terminated|expired|ended) "),
    (CHURN_ROLE, r" (cancell?ed|closed|deleted) (account|subscription|membership|workspace) | churned "),
    ("login", r" (log|logged|logs) (in|on) | login | logged in | sign(ed|s)? in | signin | signedin "),
    ("login", r" (session|app|application) (start|started|begin|began|open|opened) | authenticated "),
    ("trial_started", r" trial (start|started|began) | (start|started|began) (free )?trial "),
    ("trial_ended", r" trial (end|ended|expired|over) "),
    ("subscription_upgraded",
     r" (plan|subscription|account) (upgrade|upgraded) | upgraded (plan|subscription|account) "),
    ("subscription_downgraded",
     r" (plan|subscription|account) (downgrade|downgraded) | downgraded (plan|subscription|account) "),
    ("subscription_renewed", r" (subscription|plan|membership) (renewal|renewed) | renewed (subscription|plan) "),
    ("refund_requested", r" refund | refunded "),
    ("invoice_overdue", r" (payment|charge|invoice|card) (failed|declined|overdue|past due) | dunning "),
    ("invoice_paid", r" (payment|charge|invoice) (succeeded|success|received|made|paid|completed) | paid invoice "),
    ("support_ticket_resolved", r" (ticket|conversation|issue|case) (was )?(resolved|closed|solved) "),
    ("support_ticket_opened", r" (ticket|conversation|case) (was )?(opened|open|created|submitted|started) "),
    ("nps_response", r" nps | net promoter "),
    (ENGAGEMENT_ROLE, r" (page|screen) ?(view|viewed|visited|visit) | pageview "),
)  # fmt: skip
# Acts of others, or of our own machines, are no use of the product.
PASSIVE: Final = re.compile(
    r" (e?mail|mail|notification|webhook|cron|job|sync|sent|delivered|bounced|invoice|payment|charge|billing|refund|"
    r"error|failed|failure|crash|crashed|outage|incident|downtime|warning|timeout|timed out|"
    r"blocked|denied|rejected|signup|signed up|sign up|registered|unsubscribed|invited|imported|expired) "
)
USE: Final = frozenset({"login", "feature_used", ENGAGEMENT_ROLE})


class SentName(NamedTuple):
    """A name as an account sends it: how many events, from how many customers, and on how many of their days."""

    event: str
    events: int
    customers: int
    customer_days: int


class Proposal(NamedTuple):
    """The probable role of a name. `likely`: ticked until a person says otherwise."""

    event: str
    stands_for: str
    likely: bool
    events: int
    customers: int


def propose(names: Iterable[SentName], mapped: Iterable[str] = ()) -> list[Proposal]:
    """Returns the probable roles of the account's own names, the likeliest first; mapped names are left out."""
    names, settled = list(names), {*RECOGNISED, *mapped}
    most = max((name.customers for name in names), default=0)
    proposals = [_propose_role(name, most) for name in names if name.event not in settled]
    return sorted(
        (proposal for proposal in proposals if proposal),
        key=lambda proposal: (not proposal.likely, -proposal.customers, proposal.event),
    )


def names_of_use(mappings: Mapping[str, str]) -> list[str]:
    """The names of which each says that somebody uses the product: those that are mapped so, and the recognised ones
    that stand for themselves."""
    return [name for name in (*USE, *mappings) if mappings.get(name, name) in USE]


def words_of(name: str) -> str:
    """The words of a name in lower case: `userSignedIn`, `User Signed In` and `user.signed-in` have the same."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = " ".join(re.findall(r"[^\W_]+", apart.lower()))
    return f" {words} "


def _propose_role(name: SentName, most: int) -> Proposal | None:
    words = words_of(name.event)
    for role, pattern in PATTERNS:
        if re.search(pattern, words):
            return Proposal(name.event, role, True, name.events, name.customers)
    if PASSIVE.search(words):
        return None
    steady = name.customers >= USE_SHARE * most and name.customer_days >= USE_DAYS * max(name.customers, 1)
    return Proposal(name.event, ENGAGEMENT_ROLE, steady, name.events, name.customers)
