"""Databases on Citus: each has a schema that Citus has placed on the server that the tests connect to, as a cell's
workers connect to the node that holds their cell.

A template is made once, its schema migrated and then handed to Citus; the databases of tests are copies of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from workers.store.migrate import migrate

SCHEMA = "cell"
END_MILLISECONDS = 5000


def make_template(server: str, name: str) -> None:
    """Make a migrated database, its schema placed by Citus. One of an earlier run goes."""
    first, parts = _name(server, name), urlsplit(server)
    host, port = parts.hostname or "127.0.0.1", parts.port or 5432
    _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    _execute(
        first,
        "CREATE EXTENSION citus",
        "CREATE EXTENSION pg_trgm",
        f"SELECT citus_set_coordinator_host('{host}', {port})",
        f"SELECT citus_set_node_property('{host}', {port}, 'shouldhaveshards', true)",
        f"CREATE SCHEMA {SCHEMA}",
    )
    migrate(_path(first))
    _execute(first, f"SELECT citus_schema_distribute('{SCHEMA}')")
    # Nobody may be connected to what is copied, the extension's own processes included.
    _execute(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")


@contextmanager
def copy_template(server: str, template: str, name: str) -> Iterator[str]:
    """A copy of the template. Yields its URL."""
    _execute(
        server,
        f"SELECT pg_terminate_backend(pid, {END_MILLISECONDS}) FROM pg_stat_activity WHERE datname = '{template}'",
        f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy",
    )
    yield _path(_name(server, name))
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _name(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _path(url: str) -> str:
    return f"{url}?options=-csearch_path%3D{SCHEMA},public"
