"""Worlds whose cells Citus has placed on the nodes that CITUS_NODES names."""

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from api.up.embedded import Servers
from tests.acceptance.citus import cluster
from tests.cells.conftest import MakeWorld, World, open_world
from workers import placement
from workers.redis import redis_client
from workers.settings import Settings

_numbers = itertools.count()


@pytest.fixture
def nodes() -> list[tuple[str, int]]:
    """The host and the port of each node."""
    return [(host, int(port)) for host, _, port in (node.partition(":") for node in os.environ["CITUS_NODES"].split())]


@pytest.fixture
def make_placed(all_servers: Servers, nodes: list[tuple[str, int]], tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a world of so many cells, placed on the nodes in turn; a single one is at home, on the coordinator."""
    with ExitStack() as stack:

        def make(cells: int, **others: Any) -> World:
            number = next(_numbers)
            name = f"placed_{os.getpid()}_{number}"
            url = stack.enter_context(cluster.make_cluster(os.environ["CITUS_URL"], nodes, name))
            redis_url = f"{all_servers.redis_url}?db={number % 15 + 1}"
            redis = stack.enter_context(redis_client(redis_url))
            redis.flushdb()
            settings = Settings(database_url=url, redis_url=redis_url, data_dir=tmp_path, cells=cells, **others)
            placement.migrate_all(settings)
            if cells > 1:
                cluster.place(url, [cell.schema or "" for cell in settings.all_cells], nodes)
            return open_world(stack, settings, redis)

        yield make
