"""Scores that are computed for the model that an account is about to use, and kept beside the rows; with them the risks
of the weeks before, so that a comparison over time uses one model."""

from math import ceil
from typing import Final

import numpy as np

from scoring.rollup import DAY
from scoring.score import STATES, risks_at
from workers.accounts.serving import Served
from workers.risk.causes import DueCustomer, Terms, changes_of
from workers.risk.columns import columns_of, moment, pack
from workers.risk.compute import Computed, compute_scores
from workers.risk.renewal_state import Means, Renewal
from workers.store import Connection, sql

RESTATED_DAYS: Final = (3, 7, 14, 28)  # before the switch, as of which risks are computed with the new model


def compute_ahead(
    connection: Connection, means: Means, renewal: Renewal, target: Served, customers: list[DueCustomer]
) -> None:
    """Compute scores of these customers and keep them; in the first round also the risks of the weeks before."""
    extra_days = max(RESTATED_DAYS) + ceil((customers[0].now - renewal.requested_at) / DAY)
    computed = compute_scores(connection, customers, target, means.levels, extra_days)
    terms = Terms(target.model.version, target.horizon_days, target.generation, computed.stale, False)
    for part in computed.parts:
        changes = changes_of([customers[place] for place in part.places], terms, part.scores)
        columns = pack(columns_of(changes, part.scores, part.shift))
        context = {"generation": target.generation, "scored_at": moment(changes[0].before.now)}
        connection.execute(sql("write_ahead"), {**columns, **context})
    if renewal.round == 0:
        _restate(connection, means, renewal, target, customers, computed)


def _restate(
    connection: Connection,
    means: Means,
    renewal: Renewal,
    target: Served,
    customers: list[DueCustomer],
    computed: Computed,
) -> None:
    """Compute the risks of the weeks before with the new model, of those who were customers then."""
    moments = [renewal.requested_at - days * DAY for days in RESTATED_DAYS]
    pairs = [(place, at) for place, customer in enumerate(customers) for at in moments if at >= customer.first_seen]
    if not pairs:
        return
    places, at = np.array([place for place, _ in pairs], np.intp), np.array([at for _, at in pairs])
    probability, state = risks_at(computed.rollup, places, at, target.horizon_days, target.model, computed.pauses)
    restated = {
        "customer_id": [customers[place].customer_id for place, _ in pairs],
        "at": at.tolist(),
        "probability": probability.tolist(),
        "level": [means.levels.name(risk) for risk in probability.tolist()],
        "state": [STATES[code] for code in state.tolist()],
    }
    connection.execute(sql("write_restated"), {**restated, "generation": target.generation})
