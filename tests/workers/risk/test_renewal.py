"""A change of model is not a change of customers: all scores are new before any is, and comparisons use one model."""

import time
from typing import Any

import msgspec
import numpy as np
import pytest

from scoring.levels import LevelBounds
from scoring.model import PRIOR, Model
from scoring.rollup import DAY
from scoring.score import risks_at
from tests.workers.events import count, entry, event, push, request
from tests.workers.worlds import account, fill, world
from workers.accounts import models, renewals
from workers.accounts.models import Card
from workers.accounts.registry import choose_rules
from workers.buffer.lanes import LIVE
from workers.ingest import ingest
from workers.process import Process
from workers.risk import renewal, rescore, switch
from workers.risk.days import read_rollup
from workers.risk.renewal import step
from workers.risk.renewal_state import Means
from workers.risk.rescore import rescore_due
from workers.store import Connection, sql

MEANS = Means(LevelBounds())


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)
    monkeypatch.setattr(rescore, "LINGER_SECONDS", 0.001)
    monkeypatch.setattr(renewal, "SCORED_AT_ONCE", 50)


@pytest.fixture
def scored(process: Process, connection: Connection) -> int:
    """An account of 120 customers who have a recorded score."""
    account_id = fill(connection, world(120, 60))
    connection.execute("UPDATE customers SET rescore_at = now(), scored_at = NULL")
    while rescore_due(process):
        pass
    return account_id


def add_model(connection: Connection, account_id: int, version: int = 1) -> Model:
    """A model that takes everybody for likelier to leave."""
    model = msgspec.structs.replace(PRIOR, version=f"map-{version}", kind="map", baseline=PRIOR.baseline + 1)
    card = Card("prior-1", model.version, "", 30, None, None, 0, 0, 0, {}, [])
    models.save_models(connection, account_id, [model], card)
    return model


def models_shown(connection: Connection) -> list[str]:
    return sorted(model for (model,) in connection.execute("SELECT DISTINCT model FROM customers"))


def rows(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return connection.execute(query, parameters).fetchall()


def test_no_score_changes_before_all_are_computed(connection: Connection, scored: int) -> None:
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    seen = []
    while step(connection, MEANS):
        seen.append((models_shown(connection), renewals.find_progress(connection, scored)))
    assert len(seen) >= 4
    assert all(shown == ["prior-1"] for shown, _ in seen[:-1])
    assert [progress.scored for _, progress in seen[:-1] if progress][:3] == [50, 100, 120]
    assert seen[-1] == (["map-1"], None)
    assert models.find_in_use(connection, scored).version == 1
    assert count(connection, "scores_ahead") == 0


def test_history_says_which_model_gave_a_point_and_that_it_was_the_model(connection: Connection, scored: int) -> None:
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    renewal.run(connection, MEANS, scored)
    points = rows(connection, "SELECT model, because, count(*) FROM risk_history GROUP BY 1, 2 ORDER BY min(at)")
    assert points == [("prior-1", "first", 120), ("map-1", "model", 120)]
    assert rows(connection, "SELECT model_before, model, because FROM model_changes") == [("prior-1", "map-1", "model")]


def test_what_happens_meanwhile_is_in_the_new_score(process: Process, connection: Connection, scored: int) -> None:
    """An event between the computation and the switch is lost for nobody, and no old model writes over a new score."""
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    for _ in range(3):
        assert step(connection, MEANS)
    connection.execute(
        "UPDATE customers SET scored_at = (scored_at AT TIME ZONE 'UTC' - interval '1 minute') AT TIME ZONE 'UTC'"
    )
    (email,) = rows(connection, "SELECT email FROM customers ORDER BY email LIMIT 1")[0]
    events = [event(event="invoice_overdue", customer_email=email)]
    push_to(process, scored, events)
    rescore_due(process)
    assert models_shown(connection) == ["prior-1"]
    renewal.run(connection, MEANS, scored)
    while rescore_due(process):
        pass
    assert models_shown(connection) == ["map-1"]
    assert rows(connection, "SELECT overdue_since IS NOT NULL FROM customers WHERE email = %s", email) == [(True,)]


def push_to(process: Process, account_id: int, events: list[dict[str, Any]]) -> None:
    push(process.redis, entry(request(*events, account_id=account_id, received_us=time.time_ns() // 1000)))
    ingest.drain(process, LIVE)


def risk_then(moment: str) -> str:
    """A customer's risk at a moment, as renew_risk_before has it."""
    assignment, _, _ = sql("renew_risk_before").partition("\nWHERE customer_id = ANY")
    return assignment.partition("SET risk_before = ")[2].replace("now() - interval '14 days'", moment)


def test_the_weeks_before_are_compared_by_the_new_model(connection: Connection, scored: int) -> None:
    """Rises are the customers' doing: the same model on both sides."""
    model = add_model(connection, scored)
    connection.execute("UPDATE risk_history SET at = (at AT TIME ZONE 'UTC' - interval '20 days') AT TIME ZONE 'UTC'")
    week_ago = risk_then("now() - interval '7 days'")
    before = f"SELECT customer_id::text, {week_ago} FROM customers"
    old = dict(rows(connection, before))
    assert None not in old.values()
    renewals.request_switch(connection, scored, 1)
    (at,) = rows(connection, "SELECT extract(epoch FROM requested_at)::float8 FROM renewals")[0]
    renewal.run(connection, MEANS, scored)
    known = f"""SELECT customer_id::text, {risk_then("to_timestamp(%s)")} FROM customers
        WHERE first_seen <= to_timestamp(%s) ORDER BY 1"""
    then = dict(rows(connection, known, at - 7 * DAY + 1, at - 7 * DAY))
    ids = list(then)
    expected, _ = risks_at(
        read_rollup(connection, ids), np.arange(len(ids)), np.full(len(ids), at - 7 * DAY), 30, model
    )
    assert list(then.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert then != {customer_id: old[customer_id] for customer_id in ids}
    levels = "SELECT sum(customers) FROM levels_restated WHERE at = to_timestamp(%s)"
    assert rows(connection, levels, at - 7 * DAY) == [(len(ids),)]


def test_after_the_switch_comparisons_use_what_was_recorded_since(connection: Connection, scored: int) -> None:
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    renewal.run(connection, MEANS, scored)
    found = rows(connection, f"SELECT bool_and(abs({risk_then('now()')} - probability) < 1e-6) FROM customers")
    assert found == [(True,)]


def test_rules_that_change_meanwhile_begin_it_anew_and_the_switch_still_comes(
    connection: Connection, scored: int
) -> None:
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    assert step(connection, MEANS)
    choose_rules(connection, "acme", {}, 60)
    renewal.run(connection, MEANS, scored)
    shown = rows(connection, "SELECT DISTINCT model, horizon_days FROM customers")
    assert shown == [("map-1", 60)]


def test_a_change_of_rules_scores_everybody_anew(connection: Connection, scored: int) -> None:
    choose_rules(connection, "acme", {}, 90)
    renewal.run(connection, MEANS, scored)
    assert rows(connection, "SELECT DISTINCT horizon_days FROM customers") == [(90,)]
    assert rows(connection, "SELECT DISTINCT because FROM risk_history WHERE horizon_days = 90") == [("model",)]


def test_other_levels_are_a_change_of_settings(process: Process, connection: Connection, scored: int) -> None:
    """Scored first by the clock or by a worker: it is nobody's own doing, and all have it in the end."""
    rescore.watch_settings(process)
    assert not renewals.is_pending(connection)
    strict = Process(msgspec.structs.replace(process.settings, level_medium=0.01, level_high=0.02), process.redis)
    connection.execute("UPDATE customers SET rescore_at = now() WHERE email = 'c7@example.com'")
    rescore_due(strict)
    assert rows(connection, "SELECT because FROM risk_history ORDER BY at DESC LIMIT 1") == [("settings",)]
    rescore.watch_settings(strict)
    rescore.drain(strict)
    strict.disconnect()
    later = "SELECT DISTINCT because, level FROM risk_history WHERE because <> 'first' ORDER BY 2"
    assert {because for because, _ in rows(connection, later)} == {"settings"}
    assert rows(connection, "SELECT count(*) FROM customers WHERE level = 'medium' AND probability >= 0.02") == [(0,)]
    assert not renewals.is_pending(connection)


@pytest.mark.parametrize(
    "due", ["rescore_at = now()", "rescore_at = now() + interval '1 hour', due_because = 'import'"]
)
def test_a_large_account_switches_in_parts(
    process: Process, connection: Connection, scored: int, monkeypatch: pytest.MonkeyPatch, due: str
) -> None:
    """Customers without a usable score ahead become due, also while imported events are missing in it."""
    monkeypatch.setattr(switch, "AT_ONCE", 60)
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    connection.execute(f"UPDATE customers SET {due} WHERE email = 'c7@example.com'")
    parts = 0
    while step(connection, MEANS):
        parts += models_shown(connection) == ["map-1", "prior-1"]
    assert parts >= 2
    assert rescore_due(process) == 1
    assert models_shown(connection) == ["map-1"]


def test_a_roll_back_is_a_switch_like_another(connection: Connection, scored: int) -> None:
    for version in (1, 2):
        add_model(connection, scored, version)
        renewals.request_switch(connection, scored, version)
        renewal.run(connection, MEANS, scored)
    for expected in ("map-1", "prior-1"):
        renewals.request_roll_back(connection, scored)
        renewal.run(connection, MEANS, scored)
        assert models_shown(connection) == [expected]
    with pytest.raises(models.NoEarlierModel):
        renewals.request_roll_back(connection, scored)


def test_workers_renew_between_the_scores_that_are_due(process: Process, connection: Connection, scored: int) -> None:
    """After each slice, whoever is due by an event comes first."""
    add_model(connection, scored)
    renewals.request_switch(connection, scored, 1)
    push_to(process, scored, [event(customer_email="new@example.com")])
    assert rescore.drain(process) >= 1
    assert models_shown(connection) == ["map-1"]
    assert renewals.find_progress(connection, scored) is None


def test_a_wish_for_an_account_without_customers_ends_at_once(connection: Connection) -> None:
    account_id = account(connection, "empty")
    renewals.request_rescore(connection, account_id)
    assert connection.execute(sql("any_due")).fetchone() == (True,)
    renewal.run(connection, MEANS, account_id)
    assert not renewals.is_pending(connection)
