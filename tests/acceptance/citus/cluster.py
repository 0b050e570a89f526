"""Databases on a cluster of Citus: the schema of each is placed on a node, and the tests connect to that node.

A database has to exist on every node under the same name. The template is made once, its schema migrated and then
handed to the cluster; the databases of tests are copies of it on every node.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from workers.store.migrate import migrate

SCHEMA = "cell"
BUSY_SECONDS = 30


def make_template(coordinator: str, name: str) -> None:
    """Make a migrated database on all nodes, its schema placed by the cluster. One of an earlier run goes."""
    nodes = list_nodes(coordinator)
    for node in nodes:
        drop_database(node, name)
        _execute(node, f"CREATE DATABASE {name}")
        _execute(_name(node, name), "CREATE EXTENSION citus")
    first = _name(coordinator, name)
    host, port = _address(coordinator)
    _execute(first, f"SELECT citus_set_coordinator_host('{host}', {port})")
    for node in nodes[1:]:
        host, port = _address(node)
        _execute(first, f"SELECT citus_add_node('{host}', {port})")
    _execute(first, "CREATE EXTENSION pg_trgm", f"CREATE SCHEMA {SCHEMA}")
    migrate(_path(first))
    _execute(first, f"SELECT citus_schema_distribute('{SCHEMA}')")
    for node in nodes:  # nobody may be connected to what is copied, the cluster's own processes included
        _execute(node, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        _end_connections(node, name)


@contextmanager
def copy_template(coordinator: str, template: str, name: str) -> Iterator[str]:
    """A copy of the template on all nodes. Yields the URL of the node that holds its schema."""
    nodes = list_nodes(coordinator)
    for node in nodes:
        _end_connections(node, template)
        _execute(node, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    holder = _find_holder(_name(coordinator, name))
    yield _path(_name(_at(coordinator, *holder), name))
    for node in nodes:
        drop_database(node, name)


def list_nodes(coordinator: str) -> list[str]:
    """The URLs of all nodes, the coordinator first."""
    with psycopg.connect(coordinator) as connection:
        rows = connection.execute(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE isactive AND groupid <> 0 ORDER BY groupid"
        ).fetchall()
    return [coordinator, *(_at(coordinator, host, port) for host, port in rows)]


def drop_database(node: str, name: str) -> None:
    """Drop a database of one node, with its connections."""
    _execute(node, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _find_holder(url: str) -> tuple[str, int]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT nodename, nodeport FROM citus_shards WHERE table_name = %s::regclass", [f"{SCHEMA}.customers"]
        ).fetchone()
    assert row, "the schema is not placed"
    return row[0], row[1]


def _end_connections(node: str, name: str) -> None:
    _execute(node, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")


def _execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=BUSY_SECONDS) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _at(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    user = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
    return parts._replace(netloc=f"{user if parts.username else ''}{host}:{port}").geturl()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432


def _name(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _path(url: str) -> str:
    return f"{url}?options=-csearch_path%3D{SCHEMA},public"
