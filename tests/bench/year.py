"""A year of an account's customers in the tables: who visits when, what they do there, how their risk moved."""

from typing import NamedTuple

from tests.bench import stream
from workers.buffer.entries import hash_customer
from workers.store import Connection
from workers.upkeep import totals

DAYS = 365
NAMES = 20
VISITS = 25  # of a customer, and one more of the busiest for every four of their events
EVENTS_A_VISIT = 4
RISK_DAYS = 30


class Size(NamedTuple):
    """How many customers there are, and how often the busiest of them, number 0, visits."""

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
    connection.execute("SET statement_timeout = 0; SET work_mem = '256MB'; SET synchronous_commit = off")
    connection.execute(CUSTOMERS, {"emails": emails, "ids": ids, "days": DAYS})
    parameters = {"visits": VISITS, "busiest": size.busiest, "first": ids[0], "each": EVENTS_A_VISIT, "names": NAMES}
    for statement in (EVENTS, ROLLUP):
        connection.execute(statement, parameters)
    connection.execute(RISKS, {"days": RISK_DAYS})
    connection.execute("VACUUM ANALYZE")
    totals.tally(connection)
    connection.execute("VACUUM ANALYZE")


CUSTOMERS = """
INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, scored_at, recorded_at,
                       probability, level, state, model, reasons, advice)
SELECT id, 1, email, joined, joined + random() * (now() - joined), now() + interval '1 day', now(), now(), risk,
       CASE WHEN risk < 0.2 THEN 'low' WHEN risk < 0.5 THEN 'medium' WHEN risk < 0.75 THEN 'high' ELSE 'critical' END,
       CASE WHEN risk > 0.7 THEN 'lapsed' ELSE 'active' END, 'prior-1',
       jsonb_build_array(jsonb_build_object('signal', 'silence', 'points', 21.4, 'text', 'No login for 12 days')),
       '{"strategy": "none", "urgency": "none", "why": "Nothing to do", "facts": {}}'
FROM (
    SELECT id, email, now() - random() * %(days)s * interval '1 day' AS joined, random() ^ 3 AS risk
    FROM unnest(%(ids)s::uuid[], %(emails)s::text[]) AS given (id, email)
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
ON CONFLICT DO NOTHING
"""
ROLLUP = """
INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at, plan)
SELECT customer_id, occurred_at::date, event, properties ->> 'feature', count(*), 0, max(occurred_at), 'pro'
FROM events GROUP BY 1, 2, 3, 4 ORDER BY 2, 1
"""
RISKS = """
INSERT INTO risk_history (customer_id, at, probability, level, state, model)
SELECT customer_id, now() - ago * interval '1 day', probability,
       CASE WHEN random() < 0.1 THEN 'medium' ELSE level END, state, model
FROM customers, generate_series(0, %(days)s) AS ago
WHERE now() - ago * interval '1 day' > first_seen
"""
