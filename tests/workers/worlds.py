"""Simulated customers in the tables, up to yesterday."""

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from psycopg.types.numeric import Int4

from scoring.rollup import DAY
from tests.scoring.simulator import Kind, World, simulate
from tests.workers.upkeep.counting import count_anew
from workers.buffer.entries import hash_customer
from workers.store import Connection, sql


@cache
def world(customers: int = 600, days: int = 180) -> World:
    """A world in which most customers come daily, and half leave."""
    return simulate(Kind(visits=0.5, monthly_churn=0.12), customers=customers, days=days)


def account(connection: Connection, name: str = "acme") -> int:
    """The number of an account, which is made where need be."""
    connection.execute(sql("create_account"), {"account": name})
    row = connection.execute("SELECT account_id FROM accounts WHERE name = %s", [name]).fetchone()
    assert row
    return int(row[0])


def fill(
    connection: Connection, made: World, name: str = "acme", keeps: Callable[[str], bool] = lambda customer_id: True
) -> int:
    """Write a world's customers and days for an account: those whom this cell keeps. Returns the account's number."""
    account_id, rollup = account(connection, name), made.rollup
    shift = int(time.time() // DAY) - 1 - int(rollup.day.max())
    emails = [f"c{number}@example.com" for number in range(rollup.customers)]
    ids = [hash_customer(account_id, email) for email in emails]
    seen: defaultdict[int, list[datetime]] = defaultdict(list)
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(
            "COPY customer_days (customer_id, day, event, detail, n, value, last_at, plan) FROM STDIN"
        ) as copy:
            for k in range(len(rollup.day)):
                if not keeps(ids[rollup.customer[k]]):
                    continue
                at = datetime.fromtimestamp(rollup.last_at[k] + shift * DAY, UTC)
                seen[rollup.customer[k]].append(at)
                event, detail = rollup.names[rollup.event[k]], rollup.details[rollup.detail[k]]
                copy.write_row((ids[rollup.customer[k]], at.date(), event, detail, Int4(rollup.n[k]), 0.0, at, None))
        cursor.executemany(
            """
            INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at, scored_at)
            VALUES (%s, %s, %s, %s, %s, now() + interval '1 day', now())
            """,
            [(ids[number], account_id, emails[number], min(times), max(times)) for number, times in seen.items()],
        )
    count_anew(connection)
    return account_id
