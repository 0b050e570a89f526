"""The settings of a session with Postgres, made in the session itself.

A pooler such as PgBouncer refuses settings in the start packet, or drops them; settings of DATABASE_URL and PGOPTIONS
(a search path, limits of their own) stay. Locks and temporary tables last for a session as well, so a pooler that
hands out another connection for each transaction is refused.
"""

import os
import secrets
import threading
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from workers.store.statements import sql

STATEMENT_TIMEOUT_SECONDS = 50  # under the time an RQ job may take, so that Postgres gives up first
LOCK_TIMEOUT_SECONDS = 20
PROBE_SECONDS = 3.0

# The results of our queries depend on these, so no other setting counts.
REQUIRED = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "client_encoding": "UTF8",
    "extra_float_digits": "1",
    "default_transaction_isolation": "read committed",
}
# These hold unless DATABASE_URL or PGOPTIONS says otherwise.
PREFERRED = {
    "random_page_cost": "1.1",  # for disks without heads
    "jit": "off",  # its compilation costs more than our short statements
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
}
# libpq's own, which no server sees but for the name. They too give way to DATABASE_URL and the environment.
CLIENT: dict[str, Any] = {
    "application_name": "windback",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "gssencmode": "disable",
}
VARIABLES = {"application_name": "PGAPPNAME", "connect_timeout": "PGCONNECT_TIMEOUT", "gssencmode": "PGGSSENCMODE"}

_pooled_by_session: set[str] = set()  # the URLs of poolers that keep a session together


class TransactionPooling(psycopg.OperationalError):
    """DATABASE_URL leads to a pooler that hands out another connection for each transaction. Use one in session mode
    (PgBouncer: pool_mode = session), or Postgres itself."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_URL leads to a pooler in transaction mode, which loses locks and settings;"
            " use pool_mode = session for Windback, or connect to Postgres itself"
        )


def client_options(database_url: str) -> dict[str, Any]:
    """Returns libpq's parameters that neither the URL nor the environment sets."""
    in_url = conninfo_to_dict(database_url)
    return {
        name: value
        for name, value in CLIENT.items()
        if name not in in_url and not os.environ.get(VARIABLES.get(name, ""))
    }


def settings_query(overrides: Mapping[str, str]) -> tuple[Any, dict[str, list[str]]]:
    """Returns the statement that sets up a session, and its parameters; `overrides` take the place of PREFERRED. Its
    row holds the process id of the backend."""
    preferred = {**PREFERRED, **overrides}
    parameters = {
        "required": [*REQUIRED],
        "required_values": [*REQUIRED.values()],
        "preferred": [*preferred],
        "preferred_values": [*preferred.values()],
    }
    return sql("set_up_session"), parameters


def path_query(schema: str) -> tuple[Any, dict[str, str]]:
    """Returns the statement that leads a new session to the tables of a schema, and its parameters."""
    return sql("lead_to_schema"), {"schema": schema}


def refuse_transaction_pooling(database_url: str) -> None:
    """Raise TransactionPooling unless this pooler keeps a session on one connection."""
    if database_url in _pooled_by_session:
        return
    if not _keeps_sessions(database_url):
        raise TransactionPooling
    _pooled_by_session.add(database_url)


def _keeps_sessions(database_url: str) -> bool:
    """A session marks its connection and leaves it idle. In session mode no other session gets that connection, and the
    mark is still there while another one is in a transaction."""
    mark = secrets.token_hex(8)
    parameters = client_options(database_url)
    with psycopg.connect(database_url, autocommit=True, **parameters) as marked:
        marked.execute("SELECT set_config('windback.session', %s, false)", [mark])
        other = psycopg.connect(database_url, **parameters)
        marks: list[str | None] = []
        thread = threading.Thread(target=_read_mark, args=(other, marks), daemon=True)
        thread.start()
        thread.join(PROBE_SECONDS)  # a pooler whose sessions are all in use lets it wait
        try:
            return mark not in marks and _mark_of(marked) == mark
        finally:
            other.close()


def _read_mark(connection: psycopg.Connection[Any], marks: list[str | None]) -> None:
    try:
        marks.append(_mark_of(connection))  # and stay in the transaction
    except psycopg.Error:  # closed meanwhile
        marks.append(None)


def _mark_of(connection: psycopg.Connection[Any]) -> str | None:
    row = connection.execute("SELECT current_setting('windback.session', true)").fetchone()
    return row[0] if row else None
