"""Servers of the benchmarks' own, and a fresh database for every round."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from api.up.embedded import Servers, servers
from workers.process import Process
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import connect
from workers.store.migrate import migrate

EMPTY = "template_windback"

_numbers = itertools.count()


class World(NamedTuple):
    """The servers and the folder of a benchmark, and its thoroughness."""

    servers: Servers
    folder: Path
    rounds: int
    long: bool

    @contextmanager
    def database(self, template: str = EMPTY, name: str | None = None) -> Iterator[str]:
        """The URL of a fresh database, at the current schema or a copy of another one."""
        name = name or f"round_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            self._execute("CHECKPOINT")  # what was written before must not be flushed at this round's expense
            yield _url(self.servers, name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def process(self, database_url: str) -> Iterator[Process]:
        """A worker process on that database and an empty Redis."""
        settings = Settings(database_url=database_url, redis_url=self.servers.redis_url, data_dir=self.folder)
        with redis_client(self.servers.redis_url) as redis:
            redis.flushall()
            made = Process(settings, redis)
            try:
                yield made
            finally:
                made.disconnect()

    def versions(self) -> tuple[str, str]:
        """The versions of Postgres and of the Redis-compatible server."""
        with connect(self.servers.database_url) as connection, redis_client(self.servers.redis_url) as redis:
            info: Any = redis.info("server")
            row = connection.execute("SHOW server_version").fetchone()
        assert row
        name, number = info.get("server_name", "redis"), info.get("valkey_version", info["redis_version"])
        return row[0], f"{name} {number}"

    def _execute(self, statement: str) -> None:
        with connect(self.servers.database_url) as connection:
            connection.execute(statement)


@contextmanager
def world(folder: Path, rounds: int, long: bool) -> Iterator[World]:
    """The servers, with a migrated template database, until the end of the block."""
    with servers(folder) as found:
        made = World(found, folder, rounds, long)
        made._execute(f"CREATE DATABASE {EMPTY}")
        migrate(_url(found, EMPTY))
        yield made


def _url(servers: Servers, database: str) -> str:
    return urlsplit(servers.database_url)._replace(path=f"/{database}").geturl()
