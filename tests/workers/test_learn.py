"""Learning as part of the line: from the tables to a model in use, and back."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scoring import training
from scoring.model import PRIOR
from tests.workers.events import count
from tests.workers.worlds import account, fill, world
from workers import learn, models, nightly, rescore, rollups
from workers.learn import train
from workers.mature import last_matured, mature
from workers.models import in_use, listed, roll_back
from workers.process import Process
from workers.rollups import read_account
from workers.serving import Serving
from workers.store import Connection, connect


@pytest.fixture
def acme(connection: Connection) -> int:
    """An account with half a year of 600 customers."""
    return fill(connection, world())


def test_the_rollup_of_an_account_is_read_whole(connection: Connection, acme: int) -> None:
    """What was written comes back, under the same customers, and nothing of another account."""
    fill(connection, world(20, 60), "other")
    found, ids = read_account(connection, acme)
    written = world().rollup
    assert (len(ids), len(found.n)) == (written.customers, len(written.n))
    assert sorted(found.names) == sorted(written.names)
    assert np.bincount(np.bincount(found.customer)).tolist() == np.bincount(np.bincount(written.customer)).tolist()
    logins = found.event == found.names.index("login")
    assert logins.sum() == (written.event == written.names.index("login")).sum()
    assert (found.last_at // 86400 == found.day).all()
    assert (found.plan == -1).all()


def test_words_and_numbers_survive_the_reading(connection: Connection) -> None:
    """Plans, values and the details that matter; those that don't are left out."""
    account_id = fill(connection, world(1, 5))
    connection.execute("DELETE FROM customer_days")
    connection.execute("""
        INSERT INTO customer_days SELECT customer_id, day, event, detail, n, value, last_at, rows.plan
        FROM customers, (VALUES
            ('2025-01-02'::date, 'feature_used', 'exports', 7, 60.5, '2025-01-02 10:00Z'::timestamptz, 'pro'),
            ('2025-01-03', 'page_viewed', '/secret/path', 1, 0, '2025-01-03 10:00:00.25Z', NULL)
        ) AS rows (day, event, detail, n, value, last_at, plan)
    """)
    found = read_account(connection, account_id).rollup
    order = np.argsort(found.day)
    assert [found.names[k] for k in found.event[order]] == ["feature_used", "page_viewed"]
    assert [found.details[k] for k in found.detail[order]] == ["exports", ""]
    assert [found.plans[k] if k >= 0 else None for k in found.plan[order]] == ["pro", None]
    assert (found.n[order].tolist(), found.value[order].tolist()) == ([7, 1], [60.5, 0.0])
    assert found.last_at[order].tolist()[1] == datetime(2025, 1, 3, 10, 0, 0, 250_000, UTC).timestamp()


def test_beyond_the_most_rows_whole_customers_are_left_out(connection: Connection, acme: int) -> None:
    whole, ids = read_account(connection, acme)
    some, drawn = read_account(connection, acme, most_rows=len(whole.n) // 2)
    assert 0.35 < len(drawn) / len(ids) < 0.65
    rows = dict(zip(ids, np.bincount(whole.customer).tolist(), strict=True))
    assert np.bincount(some.customer).tolist() == [rows[customer] for customer in drawn]


def test_training_switches_to_a_better_model_and_keeps_all_that_was_tried(connection: Connection, acme: int) -> None:
    card = train(connection, acme, 30)
    assert card.against == "prior-1"
    used = in_use(connection, acme)
    assert used.model.version == card.chosen != "prior-1"
    kept = listed(connection)
    assert [one.version for one in kept] == list(range(1, len(kept) + 1))
    assert {one.kind for one in kept} == card.holdout.keys() - {"in use"}
    assert [one.name for one in kept if one.in_use] == [card.chosen]
    assert kept[0].card == card
    assert card.holdout[used.model.kind].log_loss < card.holdout["in use"].log_loss
    assert card.lapses > 50
    assert card.since is not None
    assert card.until is not None
    assert timedelta(days=170) < card.until - card.since < timedelta(days=180)


def test_a_second_training_on_the_same_data_changes_nothing(connection: Connection, acme: int) -> None:
    first, second = train(connection, acme, 30), train(connection, acme, 30)
    assert (second.against, second.chosen) == (first.chosen, first.chosen)
    assert in_use(connection, acme).model.version == first.chosen
    assert count(connection, "trainings") == 2


def test_without_lapses_the_formula_stays(connection: Connection) -> None:
    """An account with nothing, or with nothing yet: the training is noted, and no model."""
    account_id = account(connection)
    card = train(connection, account_id, 30)
    assert (card.chosen, card.snapshots, count(connection, "models")) == ("prior-1", 0, 0)
    assert in_use(connection, account_id).model is PRIOR


def test_rolling_back_goes_to_what_was_in_use_before(connection: Connection, acme: int) -> None:
    train(connection, acme, 30)
    first = in_use(connection, acme)
    connection.execute("UPDATE models SET weights = jsonb_set(weights, '{baseline}', '3'), in_use = in_use")
    second = train(connection, acme, 30)
    assert second.against == first.model.version != second.chosen
    assert roll_back(connection, acme).version == first.model.version
    assert roll_back(connection, acme) is PRIOR
    with pytest.raises(models.NoEarlierModel, match="nothing to go back to"):
        roll_back(connection, acme)


def test_a_training_that_was_overtaken_keeps_nothing(
    connection: Connection, acme: int, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is judged against the one in use; if that is another one by then, the judgement is void."""
    learning = training.learn

    def slow(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(learn, "learn", learning)
        with connect(database_url) as other:
            train(other, acme, 30)
        return learning(*arguments, **options)

    monkeypatch.setattr(learn, "learn", slow)
    with pytest.raises(learn.Overtaken, match="train again"):
        train(connection, acme, 30)
    assert count(connection, "trainings") == 1


def test_after_a_switch_everybody_becomes_due_within_minutes(connection: Connection, acme: int) -> None:
    """Not before the workers know the new model, and not all at once; other accounts are left alone."""
    fill(connection, world(20, 60), "other")
    train(connection, acme, 30)
    due = "SELECT account_id, min(rescore_at) - now(), max(rescore_at) - now() FROM customers GROUP BY 1 ORDER BY 1"
    (_, first, last), (_, others, _) = connection.execute(due).fetchall()
    assert timedelta(seconds=models.CACHE_SECONDS - 5) < first < timedelta(minutes=1)
    assert timedelta(minutes=3) < last < timedelta(seconds=models.SPREAD_SECONDS + 30)
    assert others > timedelta(hours=23)


def test_scores_say_which_model_made_them(process: Process, connection: Connection, acme: int) -> None:
    """A batch that is due may hold customers of several accounts: each has its own model."""
    fill(connection, world(20, 60), "other")
    card = train(connection, acme, 30)
    connection.execute("UPDATE customers SET rescore_at = now()")
    while rescore.rescore_due(process):
        pass
    found = connection.execute("SELECT DISTINCT account_id, model FROM customers ORDER BY 1").fetchall()
    assert [model for _, model in found] == [card.chosen, "prior-1"]


def test_a_worker_looks_for_the_model_every_ten_seconds(connection: Connection, acme: int) -> None:
    now = [0.0]
    known = Serving(clock=lambda: now[0])
    assert known.of(connection, acme).model is PRIOR
    card = train(connection, acme, 30)
    assert known.of(connection, acme).model is PRIOR
    now[0] = models.CACHE_SECONDS
    assert known.of(connection, acme).model.version == card.chosen


def scored(connection: Connection, days_ago: int, probability: str) -> None:
    """Give every active customer a score, so many days ago."""
    connection.execute(
        f"""
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, date_trunc('day', now()) - interval '{days_ago} days' - interval '2 hours', {probability},
               'low', 'active', 'prior-1'
        FROM customers
        WHERE EXISTS (SELECT FROM customer_days AS days WHERE days.customer_id = customers.customer_id
                      AND day BETWEEN current_date - {days_ago + 10} AND current_date - {days_ago + 1})
        """
    )


def test_scores_mature(connection: Connection, acme: int) -> None:
    """What was said a horizon ago is held against what happened: here, by one who knows who will come back."""
    comes_back = """EXISTS (SELECT FROM customer_days AS days WHERE days.customer_id = customers.customer_id
        AND event = 'login' AND day BETWEEN current_date - 33 AND current_date - 4)"""
    scored(connection, 33, f"CASE WHEN {comes_back} THEN 0.1 ELSE 0.9 END")
    found = mature(connection, acme, 30)
    assert found is not None
    assert found == last_matured(connection, acme)
    assert found.metrics.snapshots == count(connection, "risk_history")
    assert found.metrics.auc is not None
    assert found.metrics.auc > 0.95
    assert found.metrics.brier < found.metrics.base_rate * (1 - found.metrics.base_rate) / 2
    assert mature(connection, acme, 30) is None


def test_who_did_nothing_at_all_since_has_lapsed(connection: Connection, acme: int) -> None:
    scored(connection, 33, "0.5")
    connection.execute("DELETE FROM customer_days")
    found = mature(connection, acme, 30)
    assert found is not None
    assert found.metrics.base_rate == 1
    assert found.metrics.auc is None


def test_nothing_matures_where_nothing_was_said(connection: Connection, acme: int) -> None:
    scored(connection, 10, "0.5")
    assert mature(connection, acme, 30) is None
    assert last_matured(connection, acme) is None


def test_an_outage_tells_nothing_of_customers(connection: Connection, acme: int) -> None:
    """No snapshot is taken, and no score matures, whose horizon lies in one."""
    scored(connection, 33, "0.5")
    before = train(connection, acme, 30).snapshots
    connection.execute(
        "INSERT INTO outages VALUES (%s, now() - interval '20 days', now() - interval '18 days')", [acme]
    )
    assert mature(connection, acme, 30) is None
    assert 0 < train(connection, acme, 30).snapshots < before


def test_each_account_has_one_turn_a_night(process: Process, connection: Connection, acme: int) -> None:
    """Scores mature, and a model is learnt where there are enough new outcomes."""
    account(connection, "empty")
    nightly.run(process)
    assert count(connection, "trainings") == 1
    nightly.run(process)
    assert count(connection, "trainings") == 1
    process.redis.delete(nightly.turn(acme))
    nightly.run(process)
    assert count(connection, "trainings") == 1, "there were no new outcomes"
    process.redis.delete(nightly.turn(acme))
    connection.execute("UPDATE trainings SET trained_at = now() - interval '10 days'")
    nightly.run(process)
    assert count(connection, "trainings") == 2


def test_one_process_learns_at_a_time(process: Process, connection: Connection, acme: int) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", [nightly.LOCK])
    nightly.run(process)
    assert count(connection, "trainings") == 0


def test_an_account_that_fails_stops_no_other(
    process: Process, connection: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fill(connection, world(100, 120), "other")
    turns: list[int] = []

    def broken(connection: Connection, account_id: int, *rest: Any) -> None:
        turns.append(account_id)
        raise ValueError("broken")

    monkeypatch.setattr(nightly, "mature", broken)
    nightly.run(process)
    assert turns == [acme, other]


def test_the_clock_calls_once_an_account_is_ripe(process: Process, connection: Connection) -> None:
    nightly.call(process)
    assert process.redis.llen("rq:queue:score") == 0
    acme = fill(connection, world(20, 60))
    nightly.call(process)
    assert process.redis.llen("rq:queue:score") == 1
    process.redis.set(nightly.turn(acme), 1)
    nightly.call(process)
    assert process.redis.llen("rq:queue:score") == 1


def test_no_turn_begins_while_history_comes_in(process: Process, connection: Connection, acme: int) -> None:
    """Half of an import would be learnt from, and the night's turn be gone."""
    connection.execute("INSERT INTO rebuilds SELECT customer_id, first_seen FROM customers LIMIT 1")
    nightly.call(process)
    assert process.redis.llen("rq:queue:score") == 0
    connection.execute("DELETE FROM rebuilds")
    nightly.call(process)
    assert process.redis.llen("rq:queue:score") == 1


def test_the_job_starts_a_process_and_does_not_wait_for_it(
    process: Process, connection: Connection, acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m workers train` finds its servers in the environment of the worker."""
    assert process.settings.database_url
    assert process.settings.redis_url
    monkeypatch.setenv("DATABASE_URL", process.settings.database_url)
    monkeypatch.setenv("REDIS_URL", process.settings.redis_url)
    began = time.monotonic()
    thread = nightly.start(process)
    assert time.monotonic() - began < 1
    thread.join(50)
    assert count(connection, "trainings") == 1


def test_a_worker_that_stops_ends_what_it_has_started(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly, "COMMAND", ["sleep", "100"])
    thread = nightly.start(process)
    process.stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def test_days_are_those_of_utc() -> None:
    assert rollups.day_of(datetime(2026, 3, 1, 23, 59, tzinfo=UTC).timestamp()).isoformat() == "2026-03-01"
