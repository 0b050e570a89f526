"""An account's own choices, on their way from a command into scores, labels and trainings."""

import pytest

from scoring.event_roles import PLAIN
from tests.scoring.simulator import Kind, World, simulate
from tests.workers.events import count
from tests.workers.worlds import account, fill, world
from workers.accounts import registry
from workers.accounts.registry import choose_rules, find_rules, list_accounts
from workers.learning import nightly
from workers.learning.evaluation import mature
from workers.learning.trainer import train
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection


@pytest.fixture
def acme(connection: Connection) -> int:
    """An account with half a year of 600 customers, most of whom come daily."""
    return fill(connection, world())


def rescored(process: Process, connection: Connection) -> None:
    process.serving._cache.clear()
    connection.execute("UPDATE customers SET rescore_at = now()")
    while rescore.rescore_due(process):
        pass


def daily_users() -> World:
    """Half a year of 600 customers who come nearly every day: hardly one comes back after two weeks."""
    return simulate(Kind(visits=0.8, spread=0.3, monthly_churn=0.12), customers=600, days=180)


def test_an_account_without_choices_looks_over_thirty_days(connection: Connection) -> None:
    rules = find_rules(connection, account(connection), None)
    assert (rules.horizon_days, rules.horizon_fixed, rules.meaning) == (30, None, PLAIN)
    assert find_rules(connection, 999, None).horizon_days == 30


def test_what_was_chosen_comes_before_what_is_set_and_that_before_what_was_learnt(connection: Connection) -> None:
    acme = account(connection)
    registry.save_learnt_horizon(connection, acme, 14)
    assert find_rules(connection, acme, None).horizon_days == 14
    assert find_rules(connection, acme, 45).horizon_days == 45
    choose_rules(connection, "acme", {}, 60)
    assert find_rules(connection, acme, 45).horizon_days == 60


def test_choices_of_an_account_that_is_not_there_are_refused(connection: Connection) -> None:
    with pytest.raises(registry.NoSuchAccount, match="windback accounts list"):
        choose_rules(connection, "nobody", {}, None)


def test_training_learns_the_horizon_and_everybody_is_scored_over_it(process: Process, connection: Connection) -> None:
    """A daily user who is silent for two weeks has left: 14 days are enough to tell."""
    acme = fill(connection, daily_users())
    card = train(connection, acme)
    assert (card.horizon_days, find_rules(connection, acme, None).horizon_days) == (14, 14)
    rescored(process, connection)
    assert connection.execute("SELECT DISTINCT horizon_days FROM customers").fetchall() == [(14,)]
    assert connection.execute("SELECT DISTINCT horizon_days FROM risk_history").fetchall() == [(14,)]


def test_a_fixed_horizon_is_trained_for_and_the_learnt_one_is_kept_beside_it(connection: Connection) -> None:
    acme = fill(connection, daily_users())
    assert train(connection, acme, 30).horizon_days == 30
    assert find_rules(connection, acme, None).horizon_learnt == 14
    choose_rules(connection, "acme", {}, 60)
    assert train(connection, acme, 30).horizon_days == 60


def test_too_little_to_learn_from_leaves_the_horizon_open(connection: Connection) -> None:
    assert train(connection, account(connection)).horizon_days == 30
    assert list_accounts(connection, "acme")[0].horizon_learnt is None


def said(connection: Connection, days_ago: int, horizon_days: int) -> None:
    connection.execute(
        f"""
        WITH known AS MATERIALIZED (SELECT * FROM customers)
        INSERT INTO risk_history (customer_id, at, probability, level, state, model, horizon_days)
        SELECT customer_id, date_trunc('day', now()) - interval '{days_ago} days 2 hours', 0.5, 'low', 'active',
               'prior-1', {horizon_days}
        FROM known
        """
    )


def test_scores_mature_against_the_horizon_that_they_were_given_for(
    process: Process, connection: Connection, acme: int
) -> None:
    """After a change of horizon, what was said before is not held against the new one."""
    said(connection, 33, 30)
    choose_rules(connection, "acme", {}, 14)
    assert mature(connection, acme, 14) is None
    said(connection, 17, 14)
    said(connection, 20, 30)
    nightly.run(process)
    horizons = connection.execute("SELECT horizon_days, now()::date - day FROM matured ORDER BY day").fetchall()
    assert horizons == [(30, 33), (14, 17)]


def test_a_change_of_horizon_is_noted_in_the_history(process: Process, connection: Connection, acme: int) -> None:
    rescored(process, connection)
    before = count(connection, "risk_history")
    choose_rules(connection, "acme", {}, 90)
    rescored(process, connection)
    assert count(connection, "risk_history") == 2 * before


def test_events_that_mean_something_count_from_the_next_score_on(
    process: Process, connection: Connection, acme: int
) -> None:
    """A custom event as engagement, and one as churn: read under their meaning, wherever a rollup is read."""
    connection.execute("UPDATE customer_days SET event = 'seat_used' WHERE event = 'login'")
    rescored(process, connection)
    states = "SELECT state, count(*) FROM customers GROUP BY state ORDER BY state"
    assert connection.execute(states).fetchall() == [("lapsed", 600)]
    assert train(connection, acme).snapshots == 0
    choose_rules(connection, "acme", {"account_closed": "churn", "seat_used": "engagement"}, None)
    assert train(connection, acme).snapshots > 1000
    rescored(process, connection)
    assert [state for state, _ in connection.execute(states).fetchall()] == ["active", "lapsed"]
    connection.execute("""
        WITH known AS MATERIALIZED (SELECT * FROM customers)
        INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
        SELECT customer_id, current_date, 'account_closed', '', 1, 0, now() FROM known
    """)
    rescored(process, connection)
    assert connection.execute(states).fetchall() == [("lapsed", 600)]


def test_scores_mature_by_what_events_mean(connection: Connection, acme: int) -> None:
    """A customer who used a seat came back."""
    said(connection, 33, 30)
    connection.execute("UPDATE customer_days SET event = 'seat_used' WHERE event = 'login'")
    choose_rules(connection, "acme", {"seat_used": "engagement"}, 30)
    matured = mature(connection, acme, 30, find_rules(connection, acme, None).meaning)
    assert matured is not None
    assert 0 < matured.metrics.base_rate < 1
