"""The overview's question: which of your events means that somebody uses your product?"""

from typing import Final

from starlette.requests import Request

from api.dashboard.health import Check
from api.reading.mappings import is_use_sent, read_names
from scoring.event_roles import CHURN_ROLE
from scoring.events import ENGAGEMENT
from scoring.proposals import Proposal

ENOUGH_EVENTS: Final = 100  # before anybody is asked
MOST_PROPOSALS: Final = 6
NOT_UNDERSTOOD: Final = Check(
    "warn",
    "No event says that somebody uses your product",
    "Risks can't be trusted until one does: say which of your events it is, or send `login` and `feature_used`.",
)


async def ask_for_use(request: Request, account_id: int) -> list[Proposal] | None:
    """Returns names that may mean use of the product, the likeliest first; None if use is understood already, or too
    few events were sent."""
    if await is_use_sent(request, account_id):
        return None
    sent = await read_names(request, account_id)
    if sum(name.events for name in sent.names) < ENOUGH_EVENTS:
        return None
    use = (*ENGAGEMENT, "engagement")
    proposed = [proposal for proposal in sent.proposals if proposal.stands_for in use]
    others = [proposal for proposal in sent.proposals if proposal.stands_for not in (*use, CHURN_ROLE)]
    return (proposed or others)[:MOST_PROPOSALS]
