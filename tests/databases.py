"""A database for each test: a copy of a migrated template, on the tests' own Postgres or on a cluster of Citus."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

from tests.acceptance.citus import cluster
from workers.store import Connection, connect

TEMPLATE = "template_windback"
CITUS_URL = os.environ.get("CITUS_URL")  # a coordinator, by a superuser: it then places the tables of each test
_numbers = itertools.count()
_kept: dict[str, Connection] = {}


@contextmanager
def keep_connection(url: str) -> Iterator[None]:
    """Have all databases be made and dropped over one connection: to open one takes as long."""
    with connect(url) as connection:
        _kept[url] = connection
        try:
            yield
        finally:
            del _kept[url]


def make_template(url: str) -> None:
    """Make the migrated database that all others are copies of."""
    if CITUS_URL:
        cluster.make_template(CITUS_URL, TEMPLATE)
    else:
        execute(name_database(url, "template1"), f"CREATE DATABASE {TEMPLATE} TEMPLATE postgres STRATEGY file_copy")


@contextmanager
def copy_template(url: str, name: str) -> Iterator[str]:
    """A migrated database of this name. Yields its URL."""
    if CITUS_URL:
        with cluster.copy_template(CITUS_URL, TEMPLATE, name) as copy:
            yield copy
        return
    execute(url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    yield name_database(url, name)
    execute(url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def own_database(url: str) -> Iterator[str]:
    """A migrated database of one's own. Yields its URL."""
    with copy_template(url, f"test_{os.getpid()}_{next(_numbers)}") as copy:
        yield copy


def name_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def execute(url: str, *statements: str) -> None:
    """Carry out statements, each for itself."""
    with nullcontext(_kept[url]) if url in _kept else connect(url) as connection:
        for statement in statements:
            connection.execute(statement)
