"""The audit of what analytics reads, and of what erased customers left."""

from collections.abc import Iterator, Sequence

from tests.acceptance.chaos.past import RETENTION_DAYS
from workers.store import Connection
from workers.upkeep import totals

KEPT_SINCE = f"now() - interval '{RETENTION_DAYS} days'"  # of pruned events, the days are kept alone
DAYS = (
    "SELECT account_id, event, day, n::bigint FROM event_days",
    """SELECT account_id, event, day, sum(n)::bigint
       FROM customer_days JOIN customers USING (customer_id) GROUP BY 1, 2, 3""",
)
HOURS = (
    f"SELECT account_id, event, hour, n::bigint, customers::bigint FROM event_hours WHERE hour > {KEPT_SINCE}",
    f"""SELECT account_id, event, date_trunc('hour', least(occurred_at, received_at), 'UTC'), count(*),
              count(DISTINCT customer_id)
       FROM events JOIN customers USING (customer_id) WHERE occurred_at > {KEPT_SINCE} GROUP BY 1, 2, 3""",
)
CUSTOMERS = (
    """SELECT account_id, event, sum(customers)::bigint FROM event_returns
       WHERE previous = '-infinity' GROUP BY 1, 2""",
    """SELECT account_id, event, count(DISTINCT customer_id)
       FROM customer_days JOIN customers USING (customer_id) GROUP BY 1, 2""",
)
LEVELS = (
    "SELECT account_id, level, sum(customers)::bigint FROM risk_moves GROUP BY 1, 2 HAVING sum(customers) <> 0",
    """SELECT account_id, coalesce(standing(recorded_state, recorded_level), past.level) AS level, count(*)
       FROM customers LEFT JOIN LATERAL (
           SELECT standing(state, level) AS level FROM risk_rebuilt
           WHERE risk_rebuilt.customer_id = customers.customer_id ORDER BY at DESC LIMIT 1
       ) AS past ON recorded_at IS NULL
       WHERE recorded_level IS NOT NULL OR past.level IS NOT NULL GROUP BY 1, 2""",
)
LEFT = """
SELECT (SELECT count(*) FROM customers WHERE email = ANY (%(emails)s)),
       (SELECT count(*) FROM dead_letters WHERE encode(body, 'escape') LIKE '%%"erased%%@example.com%%'),
       (SELECT count(*) FROM identities WHERE user_id = ANY (%(names)s) OR email = ANY (%(emails)s)),
       (SELECT count(*) FROM unresolved_events WHERE user_id = ANY (%(names)s))
"""


def all_of(connection: Connection) -> Iterator[str]:
    """Every total is what counting everything gives."""
    totals.tally(connection)
    for name, (kept, counted) in {"days": DAYS, "hours": HOURS, "customers": CUSTOMERS, "levels": LEVELS}.items():
        ours, theirs = (set(connection.execute(query).fetchall()) for query in (kept, counted))
        if ours != theirs:
            yield f"the {name} of analytics are {sorted(ours - theirs)[:5]}, and should be {sorted(theirs - ours)[:5]}"


def erased(connection: Connection, names: Sequence[str]) -> Iterator[str]:
    """Nothing of an erased customer, not heard of since, is there. Names are user ids, and begin addresses."""
    whom = {"names": list(names), "emails": [f"{name}@example.com" for name in names]}
    left = connection.execute(LEFT, whom).fetchone()
    if left != (0, 0, 0, 0):
        yield f"erased customers left {left}: customers, dead letters, user ids, events that wait for an address"
