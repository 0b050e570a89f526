"""Postgres: connections, and the named queries of queries/*.sql.

Locks are taken in one order, so that nobody waits in a circle: the advisory one of erasures, then that of pruning;
then rows of event_ids, events, customer_days, rebuilds, customers, landed, and of each of them by its key. What can't
keep to it (scores, rebuilds, pruning) takes what nobody holds, and leaves the rest for the next time.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]

STATEMENT_TIMEOUT_SECONDS = 50  # under the time an RQ job may take, so that Postgres gives up first
LOCK_TIMEOUT_SECONDS = 20
OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "random_page_cost": "1.1",  # for disks without heads
        "jit": "off",  # its compilation costs more than our short statements
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": "60s",
    }.items()
)
CONNECT: dict[str, Any] = {
    "options": OPTIONS,
    "application_name": "windback",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "gssencmode": "disable",
    "autocommit": True,
}


class QueryMissing(KeyError):
    """No query of this name stands in queries/*.sql."""


class RowMissing(LookupError):
    """A query that always returns a row returned none: it is a fault of ours."""


def connect(database_url: str) -> Connection:
    """A connection in autocommit: what belongs together stands in `with connection.transaction()`.

    Raises psycopg.OperationalError where Postgres can't be reached.
    """
    return psycopg.connect(database_url, **CONNECT)


def one(result: psycopg.Cursor[TupleRow]) -> TupleRow:
    """Returns the row of a result that has exactly one. Raises RowMissing."""
    row = result.fetchone()
    if row is None:
        raise RowMissing
    return row


def sql(name: str) -> LiteralString:
    """Returns the query that stands under `-- name: NAME`, with its comment, in one of queries/*.sql."""
    try:
        return _queries()[name]
    except KeyError:
        raise QueryMissing(name) from None


@cache
def _queries() -> dict[str, LiteralString]:
    queries: dict[str, LiteralString] = {}
    for path in sorted(Path(__file__).with_name("queries").glob("*.sql")):
        parts = re.split(r"^-- name: (\w+)\n", path.read_text(), flags=re.MULTILINE)
        texts = cast(list[LiteralString], [text.strip() for text in parts[2::2]])
        queries.update(zip(parts[1::2], texts, strict=True))
    return queries
