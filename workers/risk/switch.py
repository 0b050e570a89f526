"""The switch of an account to another model: scores that were computed ahead take the place of those of before.

Up to AT_ONCE customers switch in the transaction in which the account does, more of them in parts, right after it.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from workers.accounts import models, registry
from workers.accounts.serving import Served
from workers.buffer.arrivals import find_arrivals
from workers.process import SCORED_AT_ONCE
from workers.risk.causes import DueCustomer, Terms, changes_of, find_cause, is_recorded
from workers.risk.columns import level_before, moment, pack, without_lists
from workers.risk.compute import compute_scores, write_scores
from workers.risk.renewal_state import Means, Renewal, save_renewal
from workers.store import Connection, locks, sql
from workers.store.locks import Lock

log = logging.getLogger(__name__)

AT_ONCE: Final = 10_000  # customers that switch in one transaction; it takes about a second

_ROW = len(DueCustomer._fields)
_AHEAD = (
    *("rescore_at", "probability", "level", "state", "low_confidence", "plan", "open_tickets"),
    *("overdue_since", "nps", "reasons", "advice", "horizon_days"),
)


def switch(connection: Connection, means: Means, renewal: Renewal, target: Served) -> None:
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
        save_renewal(connection, switched)
        return
    after: str | None = ""
    while after is not None:
        after = _apply_slice(connection, means, switched._replace(after=after), target)
    while _score_left_over(connection, means, switched, target):
        pass
    _finish(connection, switched)


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


def apply_part(connection: Connection, means: Means, renewal: Renewal) -> None:
    """Write a part of the scores of an account that has switched."""
    target = _find_served(connection, renewal.account_id, means)._replace(generation=renewal.generation)
    after = _apply_slice(connection, means, renewal, target)
    if after is not None:
        save_renewal(connection, renewal._replace(after=after))
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


def _find_served(connection: Connection, account_id: int, means: Means) -> Served:
    rules = registry.find_rules(connection, account_id, means.horizon_days)
    return Served(models.find_in_use(connection, account_id).model, rules.horizon_days, rules.meaning)


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
