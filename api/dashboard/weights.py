"""What a model's terms are worth, in cases that one can picture: for each feature, one customer beside another."""

from math import exp, log, log1p
from typing import Final, NamedTuple

import numpy as np

from api.reading.model import Weight
from scoring.feature_use import PLAN, USES
from scoring.history import EVENT, HALF_LIVES
from scoring.model import Term
from scoring.prior import no_return

ONCE: Final = (0.0, 1.0)  # how once and never enter


class Case(NamedTuple):
    """A customer and the one beside it, in words, and the feature of both."""

    words: str
    without: float
    with_it: float


class Effect(NamedTuple):
    """What a case adds to the log-odds, and by how much it multiplies the odds of leaving."""

    feature: str
    words: str
    log_odds: float

    @property
    def odds(self) -> float:
        """1 changes nothing."""
        return exp(min(self.log_odds, 50.0))


def effects_of(weights: list[Weight], horizon_days: int) -> list[Effect]:
    """The effect of every term in its case, what raises the risk most first."""
    known = _known(float(horizon_days))
    found = [_effect(weight, known.get(weight.feature) or _named(weight.feature)) for weight in weights]
    return sorted(found, key=lambda effect: -effect.log_odds)


def _effect(weight: Weight, case: Case) -> Effect:
    term = Term(weight.feature, tuple(weight.weights), tuple(weight.knots), weight.offset)
    without, with_it = term.at(np.array([case.without, case.with_it])).tolist()
    return Effect(weight.feature, case.words, with_it - without)


def _named(feature: str) -> Case:
    for prefix, words in ((USES, "Used {} lately"), (PLAN, "Is on the plan {}"), (EVENT, "Sent {} lately")):
        if feature.startswith(prefix):
            return Case(words.format(feature.removeprefix(prefix)), *ONCE)
    return Case(feature, *ONCE)


def _known(horizon_days: float) -> dict[str, Case]:
    daily, weekly = (_visits(every, 0.0, horizon_days) for every in (1, 7))
    silent = _visits(7, 30.0, horizon_days) - weekly
    return {
        "activity": Case("Comes once a week instead of daily", daily, weekly),
        "silence": Case("Came weekly, and has been silent for 30 days", 0.0, silent),
        "tenure": Case("A customer for a year instead of a month", log1p(30), log1p(365)),
        "cadence": Case("Usually comes every 7 days instead of daily", 0.0, log(7)),
        "trend": Case("Twice as active this week as in the last quarter", 0.0, log(2)),
        "session": Case("Active for 20 minutes a day instead of 5", log1p(5), log1p(20)),
        "breadth": Case("Uses 4 features instead of one", log1p(1), log1p(4)),
        **{feature: Case(words, *ONCE) for feature, words in _EVENTS.items()},
    }


_EVENTS: Final = {
    "invoice_overdue": "An invoice is overdue",
    "invoices_missed": "An invoice was overdue lately",
    "invoice_paid": "Has just paid an invoice",
    "detractor": "The last NPS score is 0 to 6",
    "promoter": "The last NPS score is 9 or 10",
    "promoters": "Gave an NPS score of 9 or 10 lately",
    "subscription_downgraded": "Has just downgraded",
    "subscription_upgraded": "Has just upgraded",
    "subscription_renewed": "Has just renewed",
    "refund_requested": "Has asked for a refund",
    "support_ticket_opened": "A support ticket is open",
    "ticket_waiting": "A support ticket has been open for over 7 days",
    "support_ticket_resolved": "A support ticket was just resolved",
}


def _visits(every_days: int, silence_days: float, horizon_days: float) -> float:
    """The formula's log-odds for who has come every so many days for 90, and then has been silent."""
    ages = np.arange(0.0, 90.0, every_days)
    active = np.exp2(-ages[:, None] / HALF_LIVES).sum(axis=0, keepdims=True)
    tenure, silence = np.array([90.0]), np.array([silence_days])
    return float(no_return(active, tenure, silence, horizon_days)[0])
