"""Training an account: its rollup in, the better model in use."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from redis import Redis

from scoring.learning.training import TRY_RECALIBRATED, Learnt, Training, learn
from scoring.levels import LevelBounds
from scoring.model import PRIOR, Model
from scoring.rollup import Rollup
from workers.accounts import models, registry, renewals, track_records
from workers.accounts.models import Card, InUse, name_of
from workers.accounts.registry import Rules
from workers.accounts.renewals import RenewalProgress
from workers.learning import demo_models
from workers.learning.contacts import find_contacts
from workers.risk import renewal
from workers.risk.renewal_state import Means
from workers.risk.rollups import day_of, read_account
from workers.store import Connection, sql
from workers.tracking.outages import outages_of, pauses_of

DEFAULT_LEVELS = LevelBounds()
IN_USE = "in use"  # a training's name for the model that it began with


class Overtaken(Exception):
    """Another training or a roll back changed the model in use meanwhile; nothing was kept. Train again."""


def find_last_training(connection: Connection, account_id: int) -> tuple[datetime, Card] | None:
    """Returns when an account was last trained, and that training's card."""
    row = connection.execute(sql("last_training"), {"account_id": account_id}).fetchone()
    return (row[0], msgspec.json.decode(row[1], type=Card)) if row else None


def train(
    connection: Connection,
    account_id: int,
    horizon_days: int | None = None,
    now: float | None = None,
    *,
    levels: LevelBounds = DEFAULT_LEVELS,
    redis: Redis | None = None,
    cells: Sequence[Connection] = (),
    progress: Callable[[RenewalProgress], None] | None = None,
) -> Card:
    """Learn from what became of an account's customers, keep all that was tried, switch if one is better.

    Before a switch all customers are scored anew; `progress` is called with how far that is.

    `connection` leads home; the customers are there too, or in several `cells`, which then switch by themselves.
    `horizon_days` is the setting; where neither it nor the account fixes a horizon, that is learnt as well. `now` is in
    epoch seconds. Raises Overtaken.
    """
    moment = time.time() if now is None else now
    if demo_models.put_aside(connection, account_id, cells):
        renewal.run(connection, Means(levels, horizon_days, redis), account_id, progress)
    demo = demo_models.is_taught_by_demo(connection, account_id, cells)
    before = models.find_in_use(connection, account_id)
    last = find_last_training(connection, account_id)
    doubts = {candidate.event: candidate.doubts for candidate in last[1].candidates} if last else {}
    rules = registry.find_rules(connection, account_id, horizon_days)
    account = read_account(cells or connection, account_id, meaning=rules.meaning)
    rollup = account.rollup.until(moment)
    learnt = learn(
        rollup,
        moment,
        before.model,
        horizon_days=rules.horizon_fixed,
        horizon_before=rules.horizon_learnt,
        pauses=pauses_of(outages_of(connection, account_id), moment),
        doubts=doubts,
        contacts=find_contacts(connection, account_id, account, cells),
    )
    card = _save(connection, account_id, before, learnt, _window(rollup), rules, demo)
    renewal.run(connection, Means(levels, horizon_days, redis), account_id, progress)
    for cell in cells or [connection]:
        track_records.request(cell, account_id)
    return card


def _window(rollup: Rollup) -> tuple[datetime | None, datetime | None]:
    if not len(rollup.day):
        return None, None
    first, last = (day_of(int(day) * 86400) for day in (rollup.day.min(), rollup.day.max()))
    return datetime(*first.timetuple()[:3], tzinfo=UTC), datetime(*last.timetuple()[:3], tzinfo=UTC)


def _save(
    connection: Connection,
    account_id: int,
    before: InUse,
    learnt: Learnt,
    window: tuple[datetime | None, datetime | None],
    rules: Rules,
    demo: bool,
) -> Card:
    training = learnt.training
    with connection.transaction():
        models.lock_account(connection, account_id)
        if models.find_in_use(connection, account_id).version != before.version:
            raise Overtaken("the model in use changed while this training ran; train again")
        first = models.next_version(connection, account_id)
        named = {
            kind: msgspec.structs.replace(model, version=name_of(kind, version))
            for version, (kind, model) in enumerate(training.rivals.items(), first)
        }
        chosen = named[training.model.kind] if training.replaced else before.model
        card = msgspec.structs.replace(_card(before.model, chosen, learnt, window), demo=demo)
        models.save_models(connection, account_id, named.values(), card)
        if rules.horizon_fixed and learnt.horizon_found:
            registry.save_learnt_horizon(connection, account_id, learnt.horizon_found)
        if (card.chosen, card.horizon_days) != (card.against, rules.horizon_days):
            version = None if chosen is PRIOR else models.version_of(chosen)
            renewals.request_switch(connection, account_id, version, learnt.horizon_found)
        _save_card(connection, account_id, card)
    return card


def _save_card(connection: Connection, account_id: int, card: Card) -> None:
    encoded = msgspec.json.encode(card).decode()
    parameters: dict[str, Any] = {"account_id": account_id, "snapshots": card.snapshots, "card": encoded}
    connection.execute(sql("add_training"), parameters)


def _card(before: Model, chosen: Model, learnt: Learnt, window: tuple[datetime | None, datetime | None]) -> Card:
    training = learnt.training
    return Card(
        against=before.version,
        chosen=chosen.version,
        why=_why(training),
        horizon_days=learnt.horizon_days,
        since=window[0],
        until=window[1],
        customers=training.customers,
        snapshots=training.snapshots,
        lapses=training.lapses,
        holdout=training.holdout,
        candidates=training.candidates,
        covariances=training.covariances,
    )


def _why(training: Training) -> str:
    """Returns the decision in words."""
    holdout = training.holdout
    if training.replaced and not holdout:
        return "the formula, adjusted to the silences so far, did better on the latest of them"
    if not training.snapshots:
        return "nobody was active a horizon ago, by login, feature_used or an event named by `windback accounts set`"
    if not training.rivals or not holdout:
        early = f"fewer than {TRY_RECALIBRATED} of the {training.lapses} departures"
        return f"{early} lie before the latest months, which the holdout takes"
    kind = training.model.kind if training.replaced else _best(training)
    losses = f"log loss {holdout[kind].log_loss:.4f} against {holdout[IN_USE].log_loss:.4f}"
    if training.replaced:
        return f"{kind} did better on the holdout: {losses}"
    if holdout[kind].log_loss < holdout[IN_USE].log_loss:
        return f"{kind} did better on the holdout ({losses}), but not clearly, or with a worse lift in the top decile"
    return f"nothing did better on the holdout; {kind} came next: {losses}"


def _best(training: Training) -> str:
    rivals: Iterable[str] = training.rivals
    return min(rivals, key=lambda kind: training.holdout[kind].log_loss)
