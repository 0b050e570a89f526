"""The effect of each feature of a model, as a comparison of two customers that people can picture."""

from math import exp, log, log1p
from typing import Final, NamedTuple

import numpy as np

from api.reading.model import Weight
from scoring.feature_use import PLAN, USES
from scoring.features import VISITS
from scoring.history import EVENT
from scoring.learning.uncertainty import margin
from scoring.model import Term
from scoring.prior import no_return
from scoring.rhythm import HALF_LIVES, Rhythm, weigh_half_lives

LEAST: Final = 0.1  # log-odds: odds 10% higher or lower
MOST: Final = 50.0  # log-odds that are shown
ONCE: Final = (0.0, 1.0)  # the feature of a customer without the event, and with it


class Comparison(NamedTuple):
    """Two customers who differ in one feature: the difference in words, and the feature of both."""

    words: str
    without: float
    with_it: float


class FeatureEffect(NamedTuple):
    """The log-odds that a comparison adds, how far that may be off (None where it was not learnt), and the factors on
    the odds of leaving."""

    feature: str
    words: str
    log_odds: float
    margin: float | None

    @property
    def odds(self) -> float:
        """1 changes nothing."""
        return exp(min(self.log_odds, MOST))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The odds are between these, with 95% confidence; None where they were not learnt: a slope that is held at
        the formula's has no margin."""
        if not self.margin:
            return None
        return exp(min(self.log_odds - self.margin, MOST)), exp(min(self.log_odds + self.margin, MOST))

    @property
    def matters(self) -> bool:
        """True for an effect that is not small and whose direction is certain."""
        return abs(self.log_odds) >= max(LEAST, self.margin or 0.0)


def describe_effects(weights: list[Weight], horizon_days: int) -> list[FeatureEffect]:
    """The effect of every term, the largest rise of the risk first."""
    comparisons = _list_comparisons(float(horizon_days))
    effects = [
        _measure(weight, comparisons.get(weight.feature) or _compare_by_name(weight.feature)) for weight in weights
    ]
    return sorted(effects, key=lambda effect: -effect.log_odds)


def _measure(weight: Weight, comparison: Comparison) -> FeatureEffect:
    term = Term(weight.feature, tuple(weight.weights), tuple(weight.knots), weight.offset)
    without, with_it = term.at(np.array([comparison.without, comparison.with_it])).tolist()
    spread = margin(term, weight.covariance, comparison.without, comparison.with_it) if weight.covariance else None
    return FeatureEffect(weight.feature, comparison.words, with_it - without, spread)


def _compare_by_name(feature: str) -> Comparison:
    for prefix, words in ((USES, "Used {} recently"), (PLAN, "Is on the plan {}"), (EVENT, "Sent {} recently")):
        if feature.startswith(prefix):
            return Comparison(words.format(feature.removeprefix(prefix)), *ONCE)
    return Comparison(feature, *ONCE)


def _list_comparisons(horizon_days: float) -> dict[str, Comparison]:
    daily, weekly = (_visits(every, 0.0, horizon_days) for every in (1, 7))
    silent = _visits(7, 30.0, horizon_days) - weekly
    return {
        "activity": Comparison("Comes once a week instead of daily", daily, weekly),
        "silence": Comparison("Came weekly, and has been silent for 30 days", 0.0, silent),
        "newcomer": Comparison("Has been active on one day so far instead of twenty", 1 / 20, 1.0),
        "lateness": Comparison("Silent for three of the usual pauses instead of one", log1p(1), log1p(3)),
        "beyond": Comparison("Silent for twice as long as ever before instead of half as long", log1p(0.5), log1p(2)),
        "frequency": Comparison("Active on 50 days so far instead of 5", log1p(5), log1p(50)),
        "signs": Comparison("Active or paying on 50 days so far instead of 5", log1p(5), log1p(50)),
        "signs_cadence": Comparison("Usually active or paying every 30 days instead of every 7", log(7), log(30)),
        "paid_days": Comparison("Paid without a visit on 3 days instead of never", log1p(0), log1p(3)),
        "due": Comparison("Usually comes once in so many days instead of twice or more", VISITS, 1.0),
        "tenure": Comparison("A customer for a year instead of a month", log1p(30), log1p(365)),
        "cadence": Comparison("Usually comes every 7 days instead of daily", 0.0, log(7)),
        "trend": Comparison("Twice as active this week as in the last quarter", 0.0, log(2)),
        "session": Comparison("Active for 20 minutes a day instead of 5", log1p(5), log1p(20)),
        "season": Comparison("Last active in July instead of January", 14.0, 195.0),
        "since_renewal": Comparison("Last renewed 11 months ago instead of one", 30.0, 335.0),
        "since_payment": Comparison("Last paid 45 days ago instead of 15", 15.0, 45.0),
        "breadth": Comparison("Uses 4 features instead of one", log1p(1), log1p(4)),
        **{feature: Comparison(words, *ONCE) for feature, words in _EVENTS.items()},
    }


_EVENTS: Final = {
    "churned": "Your churn event was sent",
    "invoice_overdue": "An invoice is overdue",
    "invoices_missed": "An invoice was overdue recently",
    "invoice_paid": "Has just paid an invoice",
    "detractor": "The last NPS score is 0 to 6",
    "promoter": "The last NPS score is 9 or 10",
    "promoters": "Gave an NPS score of 9 or 10 recently",
    "subscription_downgraded": "Has just downgraded",
    "subscription_upgraded": "Has just upgraded",
    "subscription_renewed": "Has just renewed",
    "refund_requested": "Has asked for a refund",
    "support_ticket_opened": "A support ticket is open",
    "ticket_waiting": "A support ticket has been open for over 7 days",
    "support_ticket_resolved": "A support ticket was just resolved",
}


def _visits(every_days: int, silence_days: float, horizon_days: float) -> float:
    """The formula's log-odds of a customer who came at this rhythm for 90 days and then fell silent."""
    ages = np.arange(0.0, 90.0, every_days)
    active = np.exp2(-ages[:, None] / HALF_LIVES).sum(axis=0, keepdims=True)
    tenure, silence = np.array([90.0]), np.array([silence_days])
    gap = np.full(1, float(every_days))
    rhythm = Rhythm(gap, np.ones(1), np.zeros(1), np.ones(1), weigh_half_lives(gap))
    slow = np.zeros(1, np.bool_)
    return float(no_return(active, np.array([float(len(ages))]), tenure, silence, horizon_days, rhythm, slow)[0])
