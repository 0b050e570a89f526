"""Installations of one cell and of several for benchmarks, on the benchmarks' servers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from redis import Redis

from tests.bench.world import World
from workers import placement
from workers.process import Process
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import Connection, connect, sql

CELLS = 4  # where there are several


class Cells(NamedTuple):
    """An installation: its settings, a worker process, and connections to its Redis and home."""

    settings: Settings
    process: Process
    redis: Redis
    home: Connection

    @property
    def places(self) -> list[Process]:
        """The process as it works on each cell."""
        cells = self.settings.cells
        return [self.process.at(number) for number in range(cells)] if cells > 1 else [self.process]

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a process of this installation."""
        urls = {"DATABASE_URL": self.settings.database_url or "", "REDIS_URL": self.settings.redis_url or ""}
        return {**urls, "WINDBACK_CELLS": str(self.settings.cells), "WINDBACK_HOST": "127.0.0.1"}

    def disconnect(self) -> None:
        """Close all connections to Postgres."""
        self.process.disconnect_all()
        self.home.close()


@contextmanager
def prepare(world: World, *counts: int) -> Iterator[None]:
    """Set up a database for each number of cells, to be copied."""
    with ExitStack() as stack:
        for cells in counts:
            url = stack.enter_context(world.database(name=_template(cells)))
            placement.migrate_all(_settings(world, url, cells))
        yield


@contextmanager
def installed(world: World, cells: int, template: str | None = None, name: str | None = None) -> Iterator[Cells]:
    """An installation of so many cells, over an empty Redis."""
    with world.database(template or _template(cells), name) as url, redis_client(world.servers.redis_url) as redis:
        redis.flushall()
        settings = _settings(world, url, cells)
        made = Cells(settings, Process(settings, redis), redis, connect(settings.home))
        try:
            for place in made.places:
                place.check_installation()
            placement.announce(redis, placement.list_noted(made.home))
            yield made
        finally:
            made.disconnect()


def keep_own(place: Process) -> None:
    """Delete the customers of other cells, and their place in the tables, as if they had never been there."""
    cell, connection = place.cell, place.connection()
    if cell.number is None:
        return
    first, last = (
        f"{-(-number * 2**32 // cell.cells):08x}-0000-0000-0000-000000000000"
        for number in (cell.number, min(cell.number + 1, cell.cells - 1))
    )
    is_last = cell.number == cell.cells - 1
    for (table,) in connection.execute(sql("list_customer_tables")).fetchall():
        connection.execute(
            f"DELETE FROM {table} WHERE customer_id < %s OR (customer_id >= %s AND NOT %s)", [first, last, is_last]
        )
    connection.execute("VACUUM FULL ANALYZE")


def _template(cells: int) -> str:
    return f"bench_cells_{cells}"


def _settings(world: World, url: str, cells: int) -> Settings:
    return Settings(database_url=url, redis_url=world.servers.redis_url, data_dir=world.folder, cells=cells)
