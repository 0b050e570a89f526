"""The look-back of a risk: a year of engagement, so that its cost has a bound however long the history is.

With half-lives of at most 90 days, an active day a year before the last one weighs 6% of a fresh one; the formula's
own clock (tenure) stops at the same distance, so rates stay unbiased. Matters that last longer (an unpaid
invoice, an open ticket, the last NPS answer, an event that the model asks for) have no such bound.
"""

from collections.abc import Collection
from typing import Final

import numpy as np

from scoring.events import CHURNED, ENGAGEMENT, RECOGNISED
from scoring.group_by import by_owner
from scoring.rollup import Rollup

LOOK_BACK: Final = 365  # days before the last day with engagement
LASTING: Final = (*(name for name in RECOGNISED if name not in ENGAGEMENT), CHURNED)


def limit_reach(rollup: Rollup, asked: Collection[str] = (), columns: Collection[str] = ()) -> Rollup:
    """Without the rows that a risk does not look at; `asked` are events that are looked at however old they are. With
    `columns`, others may be empty.

    Who has never been engaged is looked at from a year before the last of the events that are bounded.
    """
    if not len(rollup.day) or int(rollup.day.max()) - int(rollup.day.min()) <= LOOK_BACK:
        return rollup
    engaged, lasting = rollup.of(ENGAGEMENT), rollup.of((*LASTING, *asked))
    day = rollup.day.astype(np.float64)
    last = by_owner(np.maximum, rollup.customer[engaged], day[engaged], rollup.customers)
    own = by_owner(np.maximum, rollup.customer[~lasting], day[~lasting], rollup.customers)
    last = np.where(np.isnan(last), own, last)
    return rollup.where(lasting | (day >= last[rollup.customer] - LOOK_BACK), *columns)
