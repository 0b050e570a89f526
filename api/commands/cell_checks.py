"""The checks of `windback check` for a cell: its tables and its buffer, on whatever servers they are."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from redis import Redis
from redis.exceptions import RedisError

from workers import installation, placement
from workers.cells import Cell
from workers.cluster import describe_server
from workers.logs import first_line
from workers.persistence import describe_persistence
from workers.redis import REDIS_AWAY, command_client
from workers.store import connect, only_row, sql
from workers.store.faults import describe_write_fault
from workers.store.migrate import MigrationError, pending

COVERAGE = "cluster-require-full-coverage"


def find_faults(cell: Cell, replicas: int, noted: str | None) -> list[str]:
    """Describes the faults of a cell and their remedies. `replicas`: the number that must have each event; `noted`: the
    installation id of its tables as home knows it."""
    try:
        if noted and not placement.has_schema(cell):
            return [placement.describe_moved(cell), *_find_buffer_faults(cell, replicas, noted)]
        tied = _read_installation(cell)
    except (psycopg.Error, MigrationError) as error:
        return [f"its Postgres doesn't answer: {first_line(error)}", *_find_buffer_faults(cell, replicas, None)]
    faults = ["migrations are missing; run `windback migrate`"] if tied is None else []
    if noted and tied and tied != noted:
        faults.append("its tables are another installation's; set WINDBACK_CELL_DATABASE_URLS as it was")
    return [*faults, *_find_write_faults(cell), *_find_buffer_faults(cell, replicas, tied)]


def find_durability(cell: Cell) -> bool | None:
    """Returns whether the cell's Postgres keeps through a power cut what it stores; None if it is away."""
    with suppress(psycopg.Error), connect(cell) as connection:
        *_, is_durable = only_row(connection.execute(sql("read_server_facts")))
        return bool(is_durable)
    return None


def read_clocks(cell: Cell) -> Iterator[tuple[str, float]]:
    """Yields the names of the cell's servers, and their clocks' seconds since 1970; none of one that is away."""
    with suppress(psycopg.Error), connect(cell) as connection:
        _, now, _ = only_row(connection.execute(sql("read_server_facts")))
        yield f"clock of postgres, cell {cell.name}", now
    with suppress(*REDIS_AWAY), command_client(cell.buffer_url) as redis:
        time: Any = redis.time()
        yield f"clock of redis, cell {cell.name}", time[0] + time[1] / 1e6


def describe_place(cell: Cell) -> str:
    """Returns where the cell's tables and its buffer are, in words, without passwords."""
    parts = conninfo_to_dict(cell.database_url)
    place = ":".join(str(parts[part]) for part in ("host", "port") if parts.get(part))
    tables = f"its tables are in {cell.schema} at {place or 'localhost'}, " if cell.schema else ""
    return f"{tables}its buffer is at {describe_server(cell.buffer_url)}"


def _read_installation(cell: Cell) -> str | None:
    with connect(cell) as connection:
        return None if pending(connection) else installation.find_id(connection)


def _find_write_faults(cell: Cell) -> Iterator[str]:
    with connect(cell) as connection:
        if fault := describe_write_fault(*only_row(connection.execute(sql("find_write_fault")))):
            yield fault


def _find_buffer_faults(cell: Cell, replicas: int, tied: str | None) -> Iterator[str]:
    try:
        with command_client(cell.buffer_url) as redis:
            yield from _find_server_faults(redis, replicas)
            noted: Any = redis.get(installation.key_of(cell.prefix))
            if noted and tied and noted.decode() != tied:
                yield "its buffer belongs to other tables; set the URLs of cells as they were"
    except (RedisError, OSError, ValueError) as error:
        yield f"its buffer doesn't answer: {first_line(error)}"


def _find_server_faults(redis: Redis, replicas: int) -> Iterator[str]:
    info: Any = redis.info()
    if fault := describe_persistence(info):
        yield fault
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield f"set the maxmemory-policy of its Redis to noeviction, not {policy}: it may lose events"
    if (connected := info.get("connected_slaves", 0)) < replicas:
        yield f"its Redis has {connected} replicas, and WINDBACK_BUFFER_REPLICAS is {replicas}: events lodge or get 503"
    if info.get("cluster_enabled") and _read_option(redis, COVERAGE) == "yes":
        yield f"set {COVERAGE} no: all cells stop while a replica takes over from a single master"


def _read_option(redis: Redis, name: str) -> str | None:
    """Returns an option of the server; None where we may not read it."""
    try:
        answer: Any = redis.config_get(name)
    except RedisError:
        return None
    return dict(answer).get(name)
