"""Databases on Citus: each has a schema that Citus has placed on the server that the tests connect to, as a cell's
workers connect to the node that holds their cell.

A template is made once, its schema migrated and then handed to Citus; the databases of tests are copies of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psycopg

from workers.store.migrate import migrate
from workers.store.nodes import find_node

SCHEMA = "cell"
END_MILLISECONDS = 5000
ATTEMPTS = 5  # each of which waits for some seconds


def make_template(server: str, name: str) -> None:
    """Make a migrated database, its schema placed by Citus. One of an earlier run goes."""
    first = _name(server, name)
    host, port = _address(server)
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
    _drop(server, name)


def _drop(server: str, name: str) -> None:
    """Drop a database, to which a process of Citus itself may connect at any moment."""
    for _ in range(ATTEMPTS):
        with suppress(psycopg.errors.ObjectInUse):
            _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            return
    _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def make_cluster(server: str, nodes: Sequence[tuple[str, int]], name: str) -> Iterator[str]:
    """A database of this name on the coordinator and on each node, which are one cluster. Yields the coordinator's
    URL."""
    servers = [server, *(_at(server, host, port) for host, port in nodes)]
    host, port = _address(server)
    try:
        for each in servers:
            _execute(each, f"CREATE DATABASE {name}")
            _execute(_name(each, name), "CREATE EXTENSION citus", "CREATE EXTENSION pg_trgm")
        first = _name(server, name)
        _execute(first, f"SELECT citus_set_coordinator_host('{host}', {port})")
        _execute(first, *(f"SELECT citus_add_node('{host}', {port})" for host, port in nodes))
        yield first
    finally:
        for each in servers:
            _drop(each, name)


def place(url: str, schemas: Sequence[str], nodes: Sequence[tuple[str, int]]) -> None:
    """Have Citus place schemas, on the nodes in turn."""
    for number, schema in enumerate(schemas):
        host, port = nodes[number % len(nodes)]
        _execute(url, f"SELECT citus_schema_distribute('{schema}')")
        with psycopg.connect(url, autocommit=True) as connection:
            node = find_node(connection, schema)
            if node and (node.host, node.port) != (host, port):
                move = "SELECT citus_schema_move(%s, %s, %s, 'block_writes')"
                connection.execute(move, [schema, host, port])


def _address(server: str) -> tuple[str, int]:
    parts = urlsplit(server)
    return parts.hostname or "127.0.0.1", parts.port or 5432


def _at(server: str, host: str, port: int) -> str:
    parts = urlsplit(server)
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(netloc=f"{user}{host}:{port}").geturl()


def _execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _name(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _path(url: str) -> str:
    return f"{url}?options=-csearch_path%3D{SCHEMA},public"
