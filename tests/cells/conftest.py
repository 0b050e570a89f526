"""Worlds of one cell and of several, on the same servers: each has a database and a number of Redis of its own."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.up.embedded import Servers
from tests import databases
from workers import clock, placement
from workers.accounts import keys
from workers.identities import ledger_moves
from workers.ingest import handover, ingest, lodgers, resolving
from workers.process import Process
from workers.redis import redis_client
from workers.risk import rescore
from workers.settings import Settings
from workers.store import connect
from workers.upkeep import totals

_numbers = itertools.count()


class World(NamedTuple):
    """An installation: its settings, its doors with a secret key, and what its workers do."""

    settings: Settings
    client: TestClient
    process: Process
    redis: Redis

    @property
    def places(self) -> list[Process]:
        """The process as it works in each cell."""
        if self.settings.cells == 1:
            return [self.process]
        return [self.process.at(number) for number in range(self.settings.cells)]

    def track(self, *events: dict[str, Any]) -> None:
        """Send events, up to 100 in a request."""
        for batch in (events[start : start + 100] for start in range(0, len(events), 100)):
            answer = self.client.post("/api/v1/track", json={"events": batch})
            assert answer.json() == {"status": "ok"}, answer.text

    def work(self) -> None:
        """Do what the workers and the clock would: store what is in the buffers, that of cells which lodges elsewhere
        included, score who is due, count."""
        for place in self.places:
            if self.settings.cells > 1:
                lodgers.move_on(place)
            handover.take_over(place)
        for place in self.places:
            if self.settings.cells > 1:
                clock.mirror_home(place)
            for lane in place.lanes.values():
                if place.redis.xlen(lane.stream):  # as the clock does: else there is no ticket
                    ingest.drain(place, lane)
        for place in self.places:
            resolving.drain(place)
            ledger_moves.apply_moves(place.connection(), place.redis, place.lanes)
            rescore.drain(place)
            totals.tally(place.connection())


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(all_servers: Servers, tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a world of so many cells."""
    with ExitStack() as stack:

        def make(cells: int, **others: Any) -> World:
            number = next(_numbers)
            name = f"cells_{number}"
            template = _find_template(all_servers, cells)
            databases.execute(all_servers.database_url, _copy(template, name))
            stack.callback(databases.execute, all_servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")
            redis_url = f"{all_servers.redis_url}?db={number % 15 + 1}"
            redis = stack.enter_context(redis_client(redis_url))
            redis.flushdb()
            url = databases.name_database(all_servers.database_url, name)
            settings = Settings(database_url=url, redis_url=redis_url, data_dir=tmp_path, cells=cells, **others)
            _become_another(settings)
            return open_world(stack, settings, redis)

        yield make


@cache
def _find_template(servers: Servers, cells: int) -> str:
    """The name of a database with the tables of so many cells, which worlds are copies of: to make them takes long."""
    if cells == 1:
        return databases.TEMPLATE
    name = f"{databases.TEMPLATE}_of_{cells}"
    databases.execute(servers.database_url, _copy(databases.TEMPLATE, name))
    url = databases.name_database(servers.database_url, name)
    placement.migrate_all(Settings(database_url=url, redis_url=servers.redis_url, cells=cells))
    return name


def _copy(template: str, name: str) -> str:
    return f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"


def _become_another(settings: Settings) -> None:
    """Give the cells of a copy ids of their own: each world is another installation."""
    with connect(settings.home) as home:
        for cell in settings.all_cells if settings.cells > 1 else ():
            home.execute(
                f"WITH renewed AS (UPDATE {cell.schema}.installation SET installation_id = gen_random_uuid()"
                " RETURNING *)"
                " UPDATE cells SET installation_id = renewed.installation_id FROM renewed"
                f" WHERE cells.number = {cell.number}"
            )


def open_world(stack: ExitStack, settings: Settings, redis: Redis) -> World:
    """The world of these settings, whose buffers are empty."""
    placement.migrate_all(settings)
    process = Process(settings, redis)
    stack.callback(process.disconnect_all)
    set_up(process)
    with connect(settings.home) as home:
        key = keys.create(home, redis, "acme")
    client = stack.enter_context(TestClient(create_app(settings), raise_server_exceptions=False))
    client.headers["X-API-Key"] = key.secret
    return World(settings, client, process, redis)


def set_up(process: Process) -> None:
    """Do what a clock does first."""
    clock.announce_cells(process)
    for number in range(process.settings.cells) if process.settings.cells > 1 else [None]:
        process.at(number).check_installation()
