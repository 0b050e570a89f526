"""An account's whole rollup, read in bounded memory."""

from datetime import UTC, datetime

import numpy as np

from scoring.event_roles import Meaning
from scoring.invoices import settle_invoices
from tests.workers.worlds import fill, world
from workers.risk import rollups
from workers.risk.rollups import read_account
from workers.store import Connection


def test_the_rollup_of_an_account_is_read_whole(connection: Connection, acme: int) -> None:
    """All rows come back, under the same customers, and nothing of another account."""
    fill(connection, world(20, 60), "other")
    whole_rollup, ids = read_account(connection, acme)
    written = world().rollup
    assert (len(ids), len(whole_rollup.n)) == (written.customers, len(written.n))
    assert sorted(whole_rollup.names) == sorted(written.names)
    assert (
        np.bincount(np.bincount(whole_rollup.customer)).tolist() == np.bincount(np.bincount(written.customer)).tolist()
    )
    logins = whole_rollup.event == whole_rollup.names.index("login")
    assert logins.sum() == (written.event == written.names.index("login")).sum()
    assert (whole_rollup.last_at // 86400 == whole_rollup.day).all()
    assert (whole_rollup.plan == -1).all()


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
    whole_rollup = read_account(connection, account_id).rollup
    order = np.argsort(whole_rollup.day)
    assert [whole_rollup.names[k] for k in whole_rollup.event[order]] == ["feature_used", "page_viewed"]
    assert [whole_rollup.details[k] for k in whole_rollup.detail[order]] == ["exports", ""]
    assert [whole_rollup.plans[k] if k >= 0 else None for k in whole_rollup.plan[order]] == ["pro", None]
    assert (whole_rollup.n[order].tolist(), whole_rollup.value[order].tolist()) == ([7, 1], [60.5, 0.0])
    assert whole_rollup.last_at[order].tolist()[1] == datetime(2025, 1, 3, 10, 0, 0, 250_000, UTC).timestamp()


def test_invoices_keep_their_identity_in_the_reading(connection: Connection) -> None:
    """In a number for each id: an overdue invoice and its payment have the same."""
    account_id = fill(connection, world(1, 5))
    connection.execute("DELETE FROM customer_days")
    connection.execute("""
        WITH known AS MATERIALIZED (SELECT customer_id FROM customers)
        INSERT INTO customer_days SELECT customer_id, day, event, detail, 1, 0, day, NULL
        FROM known, (VALUES
            ('2025-01-02'::date, 'invoice_overdue', 'invoice:in_1'), ('2025-01-03', 'invoice_overdue', 'invoice:in_2'),
            ('2025-01-04', 'Charged', 'invoice:in_1'), ('2025-01-05', 'Invoice Sent', 'invoice:in_1')
        ) AS rows (day, event, detail)
    """)
    whole_rollup = read_account(connection, account_id, meaning=Meaning(stands_for={"Charged": "invoice_paid"})).rollup
    overdue, settled = settle_invoices(whole_rollup)
    assert np.isinf(settled[np.argsort(overdue.day)]).tolist() == [False, True]
    assert whole_rollup.details[whole_rollup.detail[whole_rollup.of(("Invoice Sent",))][0]] == ""


def test_beyond_the_most_rows_whole_customers_are_left_out(connection: Connection, acme: int) -> None:
    whole, ids = read_account(connection, acme)
    some, drawn = read_account(connection, acme, most_rows=len(whole.n) // 2)
    assert 0.35 < len(drawn) / len(ids) < 0.65
    rows = dict(zip(ids, np.bincount(whole.customer).tolist(), strict=True))
    assert np.bincount(some.customer).tolist() == [rows[customer] for customer in drawn]


def test_days_are_those_of_utc() -> None:
    assert rollups.day_of(datetime(2026, 3, 1, 23, 59, tzinfo=UTC).timestamp()).isoformat() == "2026-03-01"


def test_the_demo_teaches_only_an_account_of_its_own(connection: Connection) -> None:
    account_id = fill(connection, world(4, 6))
    connection.execute("UPDATE customers SET email = customer_id || '@demo.example'")
    everybody = read_account(connection, account_id).customer_ids
    assert len(everybody) > 1
    first = min(everybody)
    parameters = {"email": "jane@example.com", "customer_id": first}
    connection.execute("UPDATE customers SET email = %(email)s WHERE customer_id = %(customer_id)s", parameters)
    assert read_account(connection, account_id).customer_ids == [first]
