"""Computes the scores of customers of one account, from their rollups."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from scoring.group_by import by_owner
from scoring.history import EVENT
from scoring.invoices import find_last_amount
from scoring.levels import LevelBounds
from scoring.look_back import LOOK_BACK
from scoring.model import Model
from scoring.pauses import Pause, bridge
from scoring.rollup import DAY, Floats, Rollup
from scoring.score import Scores, score
from scoring.states import find_last_active
from workers.accounts.serving import Served
from workers.risk.causes import Change, DueCustomer, Terms
from workers.risk.columns import columns_of, moment, pack
from workers.risk.days import read_rollup
from workers.risk.earlier_days import Reach
from workers.risk.two_weeks import BACK_DAYS, find_risks_before
from workers.store import Connection, sql
from workers.tracking.outages import outages_of, pauses_of


class Part(NamedTuple):
    """The scores of customers that share an instant; `shift` is by how many seconds their clock is behind. `rollup` is
    bridged up to the instant; the last use, the last event and the last amount are as they were sent (NaN: none)."""

    places: list[int]
    scores: Scores
    shift: float
    instant: float
    rollup: Rollup
    last_active: Floats
    last_seen: Floats
    paid: Floats


class Computed(NamedTuple):
    """The scores of customers in parts, and their inputs. `stale`: the account's tracking is out."""

    parts: list[Part]
    rollup: Rollup
    pauses: list[Pause]
    stale: bool


def compute_scores(
    connection: Connection,
    due: Sequence[DueCustomer],
    served: Served,
    levels: LevelBounds,
    extra_days: int = 0,
    *,
    keeps: bool = False,
) -> Computed:
    """Returns the scores of customers of one account as of now; `extra_days` more of their rollups are read. For
    `keeps` see `read_rollup`."""
    now, ids = due[0].now, [customer.customer_id for customer in due]
    outages = outages_of(connection, due[0].account_id)
    pauses = pauses_of(outages, now)
    reach = reach_of(now, served.model, pauses, extra_days)
    rollup = read_rollup(connection, ids, served.meaning, reach, keeps=keeps)
    last_active, paid = find_last_active(rollup.until(now)), find_last_amount(rollup)
    last_seen = by_owner(np.maximum, rollup.customer, rollup.last_at, rollup.customers)
    bridged, instants = bridge(rollup, pauses, now)
    parts = []
    for instant in sorted(set(instants.tolist())):  # as a rule this is now, for all
        chosen = np.flatnonzero(instants == instant)
        history = bridged if len(chosen) == len(ids) else bridged.at(chosen, instants[chosen])
        scores = score(history, instant, levels=levels, horizon_days=served.horizon_days, model=served.model)
        facts = last_active[chosen], last_seen[chosen], paid[chosen]
        parts.append(Part(chosen.tolist(), scores, now - instant, instant, history, *facts))
    return Computed(parts, rollup, pauses, any(outage.lasts for outage in outages))


def reach_of(now: float, model: Model, pauses: Sequence[Pause], extra_days: int = 0) -> Reach:
    """Returns what is read of long histories for the risk of now and of BACK_DAYS and `extra_days` before; pauses move
    engagement later."""
    paused = sum(ceil((pause.ended - pause.began) / DAY) for pause in pauses)
    custom_events = [name.removeprefix(EVENT) for name in model.features if name.startswith(EVENT)]
    back = max(BACK_DAYS, extra_days) + paused
    return Reach(LOOK_BACK + extra_days + paused, custom_events, now - back * DAY)


def write_scores(connection: Connection, terms: Terms, changes: Sequence[Change], part: Part, model: Model) -> None:
    """Write scores into the rows of their customers, and record those that are to be."""
    columns = columns_of(changes, part.scores, part.shift)
    columns |= {
        "last_active": part.last_active,
        "last_seen": part.last_seen,
        "paid": part.paid,
        "lapsed_at": np.array(part.scores.lapsed_at, np.float64) + part.shift,
        "risk_before": find_risks_before(part.rollup, part.instant, changes, terms.horizon_days, model),
    }
    before = changes[0].before
    context = {**terms._asdict(), "account_id": before.account_id, "scored_at": moment(before.now), "lists": True}
    connection.execute(sql("write_scores"), {**context, **pack(columns)})
