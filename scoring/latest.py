"""The latest facts of customers that lists show, straight from the rollup: the last use, the last invoice."""

import numpy as np
from numpy.typing import NDArray

from scoring.events import ENGAGEMENT
from scoring.group_by import by_owner
from scoring.rollup import Floats, Rollup


def find_last_active(rollup: Rollup) -> Floats:
    """Epoch seconds of each customer's last engagement; NaN without any."""
    engaged = rollup.where(rollup.of(ENGAGEMENT), "last_at")
    return by_owner(np.maximum, engaged.customer, engaged.last_at, rollup.customers)


def find_last_amount(rollup: Rollup) -> Floats:
    """The amount of each customer's last paid invoice, in whole units of its currency; NaN where none is known."""
    paid = rollup.where(rollup.of(("invoice_paid",)) & (rollup.value > 0), "n", "value", "last_at")
    amounts = np.full(rollup.customers, np.nan)
    order: NDArray[np.intp] = np.argsort(paid.last_at, kind="stable")
    amounts[paid.customer[order]] = (paid.value / np.maximum(paid.n, 1))[order]  # the last one written wins
    return amounts
