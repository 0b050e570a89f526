"""Scores an account anew before it switches to another model, so that a change of model is not a change of customers.

In slices of a few hundred customers, between the scores that are due, all scores are computed ahead with the new model
and kept beside the rows. So are the risks of the weeks before, so that a comparison over time uses one model. Customers
who were scored meanwhile are computed again, in rounds. Then the account switches: up to AT_ONCE customers in the same
transaction, more of them in parts, right after it.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from redis import Redis

from scoring.levels import LevelBounds
from scoring.model import PRIOR, Model
from scoring.rollup import DAY
from scoring.score import STATES, risks_at
from workers.accounts import models, registry, renewals
from workers.accounts.renewals import RenewalProgress
from workers.accounts.serving import Served
from workers.buffer.arrivals import find_arrivals
from workers.buffer.lanes import LANES, Lane
from workers.process import SCORED_AT_ONCE
from workers.risk.causes import DueCustomer, Terms, changes_of, find_cause, is_recorded
from workers.risk.columns import columns_of, level_before, moment, pack, without_lists
from workers.risk.compute import Computed, compute_scores, write_scores
from workers.store import Connection, locks, one, sql
from workers.store.locks import Lock

log = logging.getLogger(__name__)

AT_ONCE: Final = 10_000  # customers that switch in one transaction; it takes about a second
FEW: Final = 200  # customers scored meanwhile, that the switch itself scores
ROUNDS: Final = 5  # at most, before the switch
RESTATED_DAYS: Final = (3, 7, 14, 28)  # before the switch, as of which risks are computed with the new model
WAIT_SECONDS: Final = 0.05  # while another process has a slice

_ROW = len(DueCustomer._fields)
_AHEAD = (
    *("rescore_at", "probability", "level", "state", "low_confidence", "plan", "open_tickets"),
    *("overdue_since", "nps", "reasons", "advice", "horizon_days"),
)


class Renewal(NamedTuple):
    """A row of `renewals`, locked; times in epoch seconds. `generation` is what the account's will be, -1 at first."""

    account_id: int
    because: str
    switches: bool
    version: int | None
    horizon_learnt: int | None
    generation: int
    requested_at: float
    after: str
    round: int
    found: int
    scored: int
    total: int
    switched: bool
    now: float


class Means(NamedTuple):
    """The inputs of a process's scores; `horizon_days` is the setting. Without Redis no history is taken to be
    arriving."""

    levels: LevelBounds
    horizon_days: int | None = None
    redis: Redis | None = None
    lanes: Mapping[str, Lane] = LANES


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
            _apply(connection, means, renewal)
            return True
        target = _find_target(connection, renewal, means)
        if not _compute_slice(connection, means, renewal, target):
            _switch(connection, means, renewal, target)
    return True


def _refresh(connection: Connection, renewal: Renewal) -> Renewal:
    """The renewal from its beginning, if the account's rules changed since it began."""
    row = connection.execute(sql("find_generation"), {"account_id": renewal.account_id}).fetchone()
    generation = (int(row[0]) if row else 0) + (renewal.switches and not renewal.switched)
    if generation == renewal.generation:
        return renewal
    (total,) = one(connection.execute(sql("count_to_renew"), {"account_id": renewal.account_id}))
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
        _compute_ahead(connection, means, renewal, target, [DueCustomer(*row[:-1]) for row in rows])
        found = renewal.found + len(rows)
        scored = min(renewal.total, renewal.scored + len(rows))
        _note(connection, renewal._replace(after=rows[-1][-1], found=found, scored=scored))
        return True
    if renewal.found <= FEW or renewal.round + 1 >= ROUNDS:
        return False
    _note(connection, renewal._replace(after="", round=renewal.round + 1, found=0))
    return True


def _compute_ahead(
    connection: Connection, means: Means, renewal: Renewal, target: Served, customers: list[DueCustomer]
) -> None:
    computed = compute_scores(connection, customers, target, means.levels, max(RESTATED_DAYS))
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


def _note(connection: Connection, renewal: Renewal) -> None:
    connection.execute(sql("note_renewal"), renewal._asdict())


def _switch(connection: Connection, means: Means, renewal: Renewal, target: Served) -> None:
    """Use the new model from now on. No other process scores the account meanwhile."""
    account_id = renewal.account_id
    locks.lock(connection, Lock.MODELS, account_id)
    locks.lock(connection, Lock.SCORING, account_id)
    before = _find_served(connection, account_id, means)
    if renewal.switches:
        models.use_model(connection, account_id, renewal.version)
        if renewal.horizon_learnt:
            registry.save_learnt_horizon(connection, account_id, renewal.horizon_learnt)
        models.set_generation(connection, account_id, renewal.generation)
    _note_change(connection, renewal, before, target)
    switched = renewal._replace(switched=True, scored=renewal.total, after="")
    if renewal.total > AT_ONCE:
        _note(connection, switched)
        return
    after: str | None = ""
    while after is not None:
        after = _apply_slice(connection, means, switched._replace(after=after), target)
    while _score_left_over(connection, means, switched, target):
        pass
    _finish(connection, switched)


def _find_served(connection: Connection, account_id: int, means: Means) -> Served:
    rules = registry.find_rules(connection, account_id, means.horizon_days)
    return Served(models.find_in_use(connection, account_id).model, rules.horizon_days, rules.meaning)


def _note_change(connection: Connection, renewal: Renewal, before: Served, target: Served) -> None:
    change = {
        "account_id": renewal.account_id,
        "because": renewal.because,
        "model": target.model.version,
        "model_before": before.model.version,
        "horizon_days": target.horizon_days,
        "horizon_before": before.horizon_days,
    }
    connection.execute(sql("note_model_change"), change)


def _apply(connection: Connection, means: Means, renewal: Renewal) -> None:
    """A part of the scores of an account that has switched."""
    target = _find_served(connection, renewal.account_id, means)._replace(generation=renewal.generation)
    after = _apply_slice(connection, means, renewal, target)
    if after is not None:
        _note(connection, renewal._replace(after=after))
        return
    parameters = {"account_id": renewal.account_id, "generation": renewal.generation}
    connection.execute(sql("make_left_over_due"), parameters)
    _finish(connection, renewal)


def _apply_slice(connection: Connection, means: Means, renewal: Renewal, target: Served) -> str | None:
    """Write scores that were computed ahead. Returns the address up to which that is done; None where it all is."""
    parameters = {"account_id": renewal.account_id, "after": renewal.after, "limit": SCORED_AT_ONCE}
    slice_of_account = connection.execute(sql("customers_to_switch"), parameters).fetchall()
    if not slice_of_account:
        return None
    ids = [customer_id for customer_id, _ in slice_of_account]
    rows = connection.execute(sql("take_ahead"), {"customer_ids": ids, "generation": renewal.generation}).fetchall()
    if rows:
        _write_ahead(connection, means, target, rows)
    return str(slice_of_account[-1][1])


def _write_ahead(connection: Connection, means: Means, target: Served, rows: Sequence[tuple[Any, ...]]) -> None:
    customers = [DueCustomer(*row[:_ROW]) for row in rows]
    columns: dict[str, Any] = {name: [row[_ROW + place] for row in rows] for place, name in enumerate(_AHEAD)}
    terms = _terms_of(connection, means, target, customers)
    horizons = columns["horizon_days"]
    columns["because"] = [
        find_cause(customer, terms, horizon) for customer, horizon in zip(customers, horizons, strict=True)
    ]
    columns["recorded"] = [
        is_recorded(customer, terms, level, state, horizon)
        for customer, level, state, horizon in zip(customers, columns["level"], columns["state"], horizons, strict=True)
    ]
    columns["stood_at"] = [level_before(customer) for customer in customers]
    columns["customer_id"] = ids = [customer.customer_id for customer in customers]
    packed = pack(columns | without_lists(len(rows)))
    context = {**terms._asdict(), "account_id": customers[0].account_id, "scored_at": moment(customers[0].now)}
    connection.execute(sql("write_scores"), {**context, "lists": False, **packed})
    connection.execute(sql("renew_risk_before"), {"customer_ids": ids})
    connection.execute(sql("drop_ahead"), {"customer_ids": ids})


def _score_left_over(connection: Connection, means: Means, renewal: Renewal, target: Served) -> bool:
    """Score customers that no score ahead is good for. Returns False if there are none."""
    parameters = {"account_id": renewal.account_id, "generation": renewal.generation, "limit": SCORED_AT_ONCE}
    customers = [DueCustomer(*row) for row in connection.execute(sql("customers_left_over"), parameters)]
    if not customers:
        return False
    terms = _terms_of(connection, means, target, customers)
    computed = compute_scores(connection, customers, target, means.levels)
    for part in computed.parts:
        changes = changes_of([customers[place] for place in part.places], terms, part.scores)
        write_scores(connection, terms._replace(stale_input=computed.stale), changes, part, target.model)
    return True


def _terms_of(connection: Connection, means: Means, target: Served, customers: Sequence[DueCustomer]) -> Terms:
    account_id = customers[0].account_id
    provisional = means.redis is not None and find_arrivals(means.redis, [account_id], means.lanes).hold(account_id)
    stale = any(customer.stale_input for customer in customers)
    return Terms(target.model.version, target.horizon_days, target.generation, stale, provisional)


def _finish(connection: Connection, renewal: Renewal) -> None:
    parameters = {"account_id": renewal.account_id, "generation": renewal.generation}
    for query in ("drop_account_ahead", "drop_restated", "forget_levels", "restate_levels", "end_renewal"):
        connection.execute(sql(query), parameters)
    log.info("an account was scored anew", extra={"account_id": renewal.account_id, "customers": renewal.total})
