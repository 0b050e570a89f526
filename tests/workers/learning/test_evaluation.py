"""Scores of a horizon ago, beside what has happened since."""

import msgspec

from scoring.learning.metrics import Metrics
from tests.workers.events import count
from workers.learning.evaluation import DayEvaluation, mature
from workers.learning.trainer import train
from workers.store import Connection


def scored(connection: Connection, days_ago: int, probability: str) -> None:
    """Give every active customer a score, so many days ago."""
    connection.execute(
        f"""
        WITH active AS MATERIALIZED (
            SELECT customer_id, {probability} AS said FROM customers
            WHERE EXISTS (SELECT 1 FROM customer_days AS days WHERE days.customer_id = customers.customer_id
                          AND day BETWEEN current_date - {days_ago + 10} AND current_date - {days_ago + 1})
        )
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, date_trunc('day', now()) - interval '{days_ago} days' - interval '2 hours', said,
               'low', 'active', 'prior-1'
        FROM active
        """
    )


def test_scores_mature(connection: Connection, acme: int) -> None:
    """Predictions of a horizon ago are compared with outcomes that the test knows."""
    comes_back = """EXISTS (SELECT 1 FROM customer_days AS days WHERE days.customer_id = customers.customer_id
        AND event = 'login' AND day BETWEEN current_date - 33 AND current_date - 4)"""
    scored(connection, 33, f"CASE WHEN {comes_back} THEN 0.1 ELSE 0.9 END")
    matured = mature(connection, acme, 30)
    assert matured is not None
    (kept,) = connection.execute("SELECT day, horizon_days, metrics::text FROM matured").fetchall()
    assert matured == DayEvaluation(kept[0], kept[1], msgspec.json.decode(kept[2], type=Metrics))
    assert matured.metrics.snapshots == count(connection, "risk_history")
    assert matured.metrics.auc is not None
    assert matured.metrics.auc > 0.95
    assert matured.metrics.brier < matured.metrics.base_rate * (1 - matured.metrics.base_rate) / 2
    assert mature(connection, acme, 30) is None


def test_who_did_nothing_at_all_since_has_lapsed(connection: Connection, acme: int) -> None:
    scored(connection, 33, "0.5")
    connection.execute("DELETE FROM customer_days")
    matured = mature(connection, acme, 30)
    assert matured is not None
    assert matured.metrics.base_rate == 1
    assert matured.metrics.auc is None


def test_nothing_matures_where_nothing_was_said(connection: Connection, acme: int) -> None:
    scored(connection, 10, "0.5")
    assert mature(connection, acme, 30) is None
    assert count(connection, "matured") == 0


def test_an_outage_tells_nothing_of_customers(connection: Connection, acme: int) -> None:
    """No snapshot is taken, and no score matures, whose horizon lies in one."""
    scored(connection, 33, "0.5")
    before = train(connection, acme, 30).snapshots
    connection.execute(
        "INSERT INTO outages VALUES (%s, now() - interval '20 days', now() - interval '18 days')", [acme]
    )
    assert mature(connection, acme, 30) is None
    assert 0 < train(connection, acme, 30).snapshots < before


def test_who_was_written_to_is_left_out(connection: Connection, acme: int) -> None:
    """As noted, and by the event that says so: of the scores that mature, and of what is learnt from."""
    scored(connection, 33, "0.5")
    before = train(connection, acme, 30).snapshots
    connection.execute(
        """
        WITH known AS MATERIALIZED (SELECT * FROM customers WHERE email LIKE 'c1%')
        INSERT INTO handlings (customer_id, account_id, what, at)
        SELECT customer_id, account_id, 'contacted', now() - interval '20 days' FROM known
        """
    )
    connection.execute("UPDATE accounts SET contact_event = 'mail_sent'")
    connection.execute(
        """
        WITH known AS MATERIALIZED (SELECT * FROM customers WHERE email LIKE 'c2%')
        INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
        SELECT customer_id, current_date - 20, 'mail_sent', '', 1, 0, now() - interval '20 days' FROM known
        """
    )
    assert train(connection, acme, 30).snapshots < before
    matured = mature(connection, acme, 30)
    assert matured is not None
    left = connection.execute(
        """
        SELECT count(*) FROM risk_history JOIN customers USING (customer_id)
        WHERE email !~ '^c[12]' AND at < now() - interval '30 days'
        """
    ).fetchone()
    assert left == (matured.metrics.snapshots,)
    assert left > (0,)
