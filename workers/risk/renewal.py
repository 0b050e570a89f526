"""Scores an account anew before it switches to another model, so that a change of model is not a change of customers.

In slices of a few hundred customers, between the scores that are due, all scores are computed ahead with the new model
and kept beside the rows. So are the risks of the weeks before, so that a comparison over time uses one model. Customers
who were scored meanwhile are computed again, in rounds. Then the account switches: up to AT_ONCE customers in the same
transaction, more of them in parts, right after it.
"""

import time
from collections.abc import Callable
from typing import Final

from scoring.model import PRIOR, Model
from workers.accounts import models, registry, renewals
from workers.accounts.renewals import RenewalProgress
from workers.accounts.serving import Served
from workers.process import SCORED_AT_ONCE
from workers.risk.causes import DueCustomer
from workers.risk.renewal_state import Means, Renewal, save_renewal
from workers.risk.scores_ahead import compute_ahead
from workers.risk.switch import apply_part, switch
from workers.store import Connection, only_row, sql

FEW: Final = 200  # customers scored meanwhile, that the switch itself scores
ROUNDS: Final = 5  # at most, before the switch
WAIT_SECONDS: Final = 0.05  # while another process has a slice


def run(
    connection: Connection, means: Means, account_id: int, progress: Callable[[RenewalProgress], None] | None = None
) -> None:
    """Carry out an account's renewal to its end, together with any workers that are at it."""
    while under_way := renewals.find_progress(connection, account_id):
        if progress:
            progress(under_way)
        if not step(connection, means, account_id):
            time.sleep(WAIT_SECONDS)


def step(connection: Connection, means: Means, account_id: int | None = None) -> bool:
    """Do a slice of a renewal, of this account or of any. Returns False if there is none that no other process has."""
    with connection.transaction():
        row = connection.execute(sql("take_renewal"), {"account_id": account_id}).fetchone()
        if row is None:
            return False
        renewal = _refresh(connection, Renewal(*row))
        if renewal.switched:
            apply_part(connection, means, renewal)
            return True
        target = _find_target(connection, renewal, means)
        if not _compute_slice(connection, means, renewal, target):
            switch(connection, means, renewal, target)
    return True


def _refresh(connection: Connection, renewal: Renewal) -> Renewal:
    """The renewal from its beginning, if the account's rules changed since it began."""
    row = connection.execute(sql("find_generation"), {"account_id": renewal.account_id}).fetchone()
    generation = (int(row[0]) if row else 0) + (renewal.switches and not renewal.switched)
    if generation == renewal.generation:
        return renewal
    (total,) = only_row(connection.execute(sql("count_to_renew"), {"account_id": renewal.account_id}))
    return renewal._replace(generation=generation, total=total, after="", round=0, found=0, scored=0, switched=False)


def _find_target(connection: Connection, renewal: Renewal, means: Means) -> Served:
    """Returns the model and rules of customers after the switch."""
    rules = registry.find_rules(connection, renewal.account_id, means.horizon_days)
    horizon_days = rules.horizon_days
    if renewal.horizon_learnt and not rules.horizon_fixed:
        horizon_days = renewal.horizon_learnt
    model = _find_model(connection, renewal)
    return Served(model, horizon_days, rules.meaning, renewal.generation)


def _find_model(connection: Connection, renewal: Renewal) -> Model:
    if not renewal.switches:
        return models.find_in_use(connection, renewal.account_id).model
    if renewal.version is None:
        return PRIOR
    return models.find_version(connection, renewal.account_id, renewal.version)


def _compute_slice(connection: Connection, means: Means, renewal: Renewal, target: Served) -> bool:
    """Compute scores ahead. Returns False once there are so few left that the switch can begin."""
    parameters = {
        "account_id": renewal.account_id,
        "generation": renewal.generation,
        "after": renewal.after,
        "limit": SCORED_AT_ONCE,
    }
    rows = connection.execute(sql("customers_to_renew"), parameters).fetchall()
    if rows:
        compute_ahead(connection, means, renewal, target, [DueCustomer(*row[:-1]) for row in rows])
        met = renewal.found + len(rows)
        scored = min(renewal.total, renewal.scored + len(rows))
        save_renewal(connection, renewal._replace(after=rows[-1][-1], found=met, scored=scored))
        return True
    if renewal.found <= FEW or renewal.round + 1 >= ROUNDS:
        return False
    save_renewal(connection, renewal._replace(after="", round=renewal.round + 1, found=0))
    return True
