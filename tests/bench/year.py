"""A year of an account's customers in the tables: who visits when, what they do there and pay, how their risk moved.

Millions of rows are written in the order of each table, and its indexes are built afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString, NamedTuple

from tests.bench import stream
from workers.buffer.entries import hash_customer
from workers.store import Connection, sql
from workers.upkeep.recount import RECENT

DAYS = 365
NAMES = 20
VISITS = 25  # of a customer, and one more of the busiest for every four of their events
EVENTS_A_VISIT = 4
RISK_DAYS = 60
REBUILT_WEEKS = 40  # before these days, as an import leaves them


class Size(NamedTuple):
    """The number of customers, and of visits of the busiest, number 0."""

    customers: int
    busiest: int

    @property
    def events(self) -> int:
        """All of them."""
        return (self.customers * VISITS + self.busiest) * EVENTS_A_VISIT


def fill(connection: Connection, size: Size) -> None:
    """Write them, and their totals."""
    emails = [stream.email(number) for number in range(size.customers)]
    ids = [hash_customer(1, email) for email in emails]
    for setting in SETTINGS:
        connection.execute(setting)
    connection.execute(CUSTOMERS, {"emails": emails, "ids": ids, "days": DAYS})
    connection.execute("INSERT INTO customer_search SELECT customer_id, account_id, email FROM customers")
    with _without_keys(connection, "events", "customer_days", "risk_history", "risk_rebuilt"):
        parameters = {
            "visits": VISITS, "busiest": size.busiest, "first": ids[0], "each": EVENTS_A_VISIT, "names": NAMES
        }  # fmt: skip
        for statement in (EVENTS, ROLLUP, INVOICES):
            connection.execute(statement, parameters)
        connection.execute(RISKS, {"days": RISK_DAYS})
        connection.execute(REBUILT, {"days": RISK_DAYS, "weeks": REBUILT_WEEKS})
    fill_totals(connection)
    connection.execute("VACUUM ANALYZE")


def fill_totals(connection: Connection) -> None:
    """Count what is there, anew."""
    for table in ("event_days", "event_returns", "event_hours", "recent_events", "tallied", "risk_moves"):
        connection.execute(f"TRUNCATE {table}")
    for statement in TOTALS:
        connection.execute(statement, {"kept": RECENT})
    connection.execute(sql("recount_moves"))


@contextmanager
def _without_keys(connection: Connection, *tables: LiteralString) -> Iterator[None]:
    """Take the primary keys of these tables away, and make them again at the end of the block."""
    keys: list[tuple[LiteralString, LiteralString]] = [
        row for table in tables for row in connection.execute(KEY_OF, {"table": table}).fetchall()
    ]
    for table, (name, _) in zip(tables, keys, strict=True):
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    yield
    for table, (name, definition) in zip(tables, keys, strict=True):
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


SETTINGS: tuple[LiteralString, ...] = (
    "SET statement_timeout = 0",
    "SET work_mem = '256MB'",
    "SET maintenance_work_mem = '512MB'",
    "SET synchronous_commit = off",
)
KEY_OF = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %(table)s::regclass AND contype = 'p'
"""
# Two in five pay, most of them in euros; three in four belong to a company of twenty.
CUSTOMERS = """
INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, scored_at, recorded_at,
                       probability, level, state, model, reasons, advice, recorded_level, recorded_state, risk_before,
                       last_active, lapsed_at, plan, mrr, currency, company, paid)
SELECT id, 1, email, joined, seen, now() + interval '1 day', now(), now(), risk, level, state, 'prior-1',
       jsonb_build_array(jsonb_build_object('signal', 'silence', 'points', 21.4, 'text', 'No login for 12 days')),
       '{"strategy": "none", "urgency": "none", "why": "Nothing to do", "facts": {}}',
       level, state, risk * random(), seen,
       CASE WHEN state = 'lapsed' THEN seen + interval '20 days' END,
       CASE WHEN chance < 0.4 THEN 'pro' ELSE 'free' END,
       CASE WHEN chance < 0.4 THEN (1 + floor(40 * random())) * 1000 END,
       CASE WHEN chance < 0.3 THEN 'EUR' WHEN chance < 0.4 THEN 'USD' END,
       CASE WHEN number %% 4 > 0 THEN 'Company ' || number / 20 END,
       CASE WHEN chance < 0.4 THEN 49 END
FROM (
    SELECT *, joined + random() * (now() - joined) AS seen,
           CASE WHEN risk < 0.2 THEN 'low' WHEN risk < 0.5 THEN 'medium' WHEN risk < 0.75 THEN 'high'
                ELSE 'critical' END AS level,
           CASE WHEN risk > 0.7 THEN 'lapsed' ELSE 'active' END AS state
    FROM (
        SELECT id, email, number, now() - random() * %(days)s * interval '1 day' AS joined, random() ^ 3 AS risk,
               random() AS chance
        FROM unnest(%(ids)s::uuid[], %(emails)s::text[]) WITH ORDINALITY AS given (id, email, number)
    ) AS people
) AS customers
"""
EVENTS = """
INSERT INTO events (customer_id, occurred_at, event_key, event, properties, received_at, stored_by)
SELECT customer_id, at, number, 'event_' || floor(%(names)s * random() ^ 3),
       jsonb_build_object('feature', 'feature ' || floor(12 * random()), 'plan', 'pro', 'page', '/reports'), at, 0
FROM (
    SELECT customer_id, day + random() * interval '2 hours' AS at, number
    FROM (
        SELECT customer_id, first_seen + random() * (last_seen - first_seen) AS day
        FROM customers, generate_series(1, CASE WHEN customer_id = %(first)s THEN %(busiest)s ELSE %(visits)s END)
    ) AS visits, generate_series(1, %(each)s) AS number
    ORDER BY at
) AS events
"""
ROLLUP = """
INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at, plan)
SELECT customer_id, occurred_at::date, event, properties ->> 'feature', count(*), 0, max(occurred_at), 'pro'
FROM events GROUP BY 1, 2, 3, 4 ORDER BY 2, 1
"""
INVOICES = """
INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at, plan)
SELECT customer_id, at::date, 'invoice_paid', 'invoice:' || at::date, 1, mrr / 100.0, at, 'pro'
FROM customers, generate_series(first_seen, now(), interval '30 days') AS at
WHERE mrr > 0
"""
RISKS = """
INSERT INTO risk_history (customer_id, at, probability, level, state, model)
SELECT customer_id, at, risk,
       CASE WHEN risk < 0.2 THEN 'low' WHEN risk < 0.5 THEN 'medium' WHEN risk < 0.75 THEN 'high' ELSE 'critical' END,
       CASE WHEN lapsed_at > at THEN 'active' ELSE state END, model
FROM (
    SELECT customer_id, state, model, lapsed_at, recorded_at - ago * interval '1 day' AS at,
           CASE WHEN ago = 0 THEN probability ELSE probability * (0.5 + random() / 2) END AS risk
    FROM customers, generate_series(%(days)s, 0, -1) AS ago
    WHERE recorded_at - ago * interval '1 day' > first_seen
    ORDER BY ago DESC
) AS risks
"""
REBUILT = """
INSERT INTO risk_rebuilt (customer_id, at, probability, level, state, model)
SELECT customer_id, at, 0.1, 'low', 'active', model
FROM customers, generate_series(
    date_trunc('week', recorded_at - %(days)s * interval '1 day') - %(weeks)s * interval '1 week',
    recorded_at - %(days)s * interval '1 day', interval '1 week'
) AS at
WHERE at > first_seen
"""
# As a recount has them; that one goes over the customers in small parts, which takes much longer.
TOTALS: tuple[LiteralString, ...] = (
    """
    INSERT INTO event_days (account_id, event, day, n, first_at, last_at, customers, counted)
    SELECT 1, event, day, sum(n), min(last_at), max(last_at), count(DISTINCT customer_id), sum(n)
    FROM customer_days GROUP BY 2, 3
    """,
    """
    INSERT INTO event_returns (account_id, event, day, previous, customers)
    SELECT 1, event, day, coalesce(previous, '-infinity'), count(*)
    FROM (
        SELECT event, day, lag(day) OVER (PARTITION BY customer_id, event ORDER BY day) AS previous
        FROM (SELECT DISTINCT customer_id, event, day FROM customer_days) AS days
    ) AS returns
    GROUP BY 2, 3, 4
    """,
    """
    INSERT INTO event_hours (account_id, event, hour, n, customers)
    SELECT 1, event, hour, sum(n), count(*)
    FROM (
        SELECT event, date_trunc('hour', occurred_at, 'UTC') AS hour, customer_id, count(*) AS n
        FROM events GROUP BY 1, 2, 3
    ) AS counted
    GROUP BY 2, 3
    """,
    """
    INSERT INTO recent_events (customer_id, event, hour, account_id)
    SELECT DISTINCT customer_id, event, date_trunc('hour', occurred_at, 'UTC'), 1
    FROM (
        SELECT customer_id, event, occurred_at,
               row_number() OVER (PARTITION BY event ORDER BY occurred_at DESC) AS place
        FROM events
    ) AS placed
    WHERE place <= %(kept)s
    """,
    "INSERT INTO tallied (snapshot, at, worked_seconds) VALUES (pg_current_snapshot(), now(), 0)",
)
