"""Risks as they would have been: the same customer at many past instants, through the code that scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scoring.history import history_of
from scoring.model import Model, sigmoid
from scoring.pauses import Pause, bridged
from scoring.rollup import Floats, Rollup
from scoring.states import state_of


def risks_then(
    rollup: Rollup,
    customers: NDArray[np.intp],
    instants: Floats,
    horizon_days: float,
    model: Model,
    pauses: Sequence[Pause] = (),
) -> tuple[Floats, NDArray[np.int8]]:
    """Probability and state (index into STATES) of each (customer, instant); what came later is not looked at."""
    known, clock = bridged(rollup.at(customers, instants), pauses, instants)
    history = history_of(known, clock, model.features)
    contributions = model.contributions(history, clock, horizon_days)
    return sigmoid(model.baseline + contributions.sum(axis=1)), state_of(history, clock)
